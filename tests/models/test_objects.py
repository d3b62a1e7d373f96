"""The object model on real pictures, through torch, Ultralytics and OpenVINO."""

import os
import shutil
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.objects import ObjectModel
from models.types import Detection

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
WEIGHTS = SHARED / "models" / "yolo11n_coco_from_int8.pt"
COFFEE = SHARED / "data" / "dev" / "cup" / "coffee.jpg"
ASTRONAUT = SHARED / "data" / "dev" / "awake" / "astronaut.jpg"

needs_shared = pytest.mark.skipif(not WEIGHTS.is_file(), reason=f"no COCO weights and pictures in {SHARED}")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def model(cache: Path) -> ObjectModel:
    return model_of(WEIGHTS, cache)


def model_of(weights: Path, cache: Path, **options: Any) -> ObjectModel:
    return ObjectModel(weights=weights, cache=cache, **{"image_size_px": 320, "confidence": 0.25, **options})


def picture(path: Path, width_px: int = 640, height_px: int = 480) -> NDArray[np.uint8]:
    read = cv2.imread(str(path))
    assert read is not None
    return cv2.resize(read, (width_px, height_px)).astype(np.uint8)


def exports(cache: Path) -> dict[str, float]:
    return {folder.name: folder.stat().st_mtime for folder in cache.glob("*_openvino_model")}


def assert_same(one: tuple[Detection, ...], other: tuple[Detection, ...]) -> None:
    assert [found.label for found in one] == [found.label for found in other]
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a.xyxy, b.xyxy, atol=2)
        assert a.confidence == pytest.approx(b.confidence, abs=0.02)


@needs_shared
def test_the_cup_is_a_bottle_and_the_table_is_dropped(model: ObjectModel) -> None:
    ((found,),) = model.detect([picture(COFFEE)])
    assert found.label == "bottle"
    assert found.confidence > 0.8
    np.testing.assert_allclose(found.xyxy, (180, 20, 448, 296), atol=8)


@needs_shared
def test_a_blank_picture_and_a_face_give_nothing_and_no_picture_no_answer(model: ObjectModel) -> None:
    assert model.detect([np.zeros((480, 640, 3), np.uint8), picture(ASTRONAUT)]) == [(), ()]
    assert model.detect([]) == []


@needs_shared
def test_a_batch_of_different_sizes_says_what_its_pictures_say_alone(model: ObjectModel) -> None:
    sizes = [(640, 480), (320, 240), (640, 480), (480, 480), (800, 600)]
    pictures = [picture(COFFEE, *size) for size in sizes]
    pictures.insert(2, picture(ASTRONAUT))
    together = model.detect(pictures)
    for seen, alone in zip(together, pictures, strict=True):
        assert_same(seen, model.detect([alone])[0])
    for (found,), picture_ in (
        (together[at], pictures[at]) for at in (0, 1, 3, 5)
    ):  # the 4:3 ones: in their own pixels
        scale = picture_.shape[1] / 640
        np.testing.assert_allclose(np.array(found.xyxy) / scale, (180, 20, 448, 296), atol=8)


@needs_shared
def test_several_threads_may_ask_at_once(model: ObjectModel) -> None:
    answers: list[list[tuple[Detection, ...]]] = []
    threads = [
        threading.Thread(target=lambda: answers.append(model.detect([picture(COFFEE)] * 3)), name=f"asks-{number}")
        for number in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [[len(found) for found in answer] for answer in answers] == [[1, 1, 1]] * 3


@needs_shared
def test_the_export_is_made_once_and_found_again(model: ObjectModel, cache: Path) -> None:
    before = exports(cache)
    again = model_of(WEIGHTS, cache)
    assert exports(cache) == before
    assert len(before) == 1
    assert (again.name, again.sha256) == (model.name, model.sha256)
    assert again.name.startswith("yolo11n_coco_from_int8-")
    assert_same(again.detect([picture(COFFEE)])[0], model.detect([picture(COFFEE)])[0])


@needs_shared
def test_what_a_killed_export_left_is_removed_and_another_size_is_another_export(tmp_path: Path) -> None:
    left_over = tmp_path / ".export-killed"
    left_over.mkdir()
    for image_size_px in (160, 192):
        model_of(WEIGHTS, tmp_path, image_size_px=image_size_px)
    assert not left_over.exists()
    assert len(exports(tmp_path)) == 2
    assert not list(tmp_path.glob(".export-*"))


@needs_shared
def test_an_openvino_folder_is_run_as_it_is_and_its_threads_may_move(model: ObjectModel, cache: Path) -> None:
    (name,) = exports(cache)
    same = model_of(cache / name, cache)
    for one in (model, same):
        compiled = one._predictor.model.backend.ov_compiled_model  # noqa: SLF001 - where it shows
        assert compiled.get_property("ENABLE_CPU_PINNING") is False
    assert_same(same.detect([picture(COFFEE)])[0], model.detect([picture(COFFEE)])[0])


@needs_shared
def test_an_openvino_folder_may_have_any_name(model: ObjectModel, cache: Path, tmp_path: Path) -> None:
    (name,) = exports(cache)
    for place in ("here", "there"):  # the same files at another place: the link of the cache follows
        weights = Path(shutil.copytree(cache / name, tmp_path / place / "best.onnx"))
        named = model_of(weights, tmp_path / "cache")
        assert named.name.startswith("best.onnx-")
        assert_same(named.detect([picture(COFFEE)])[0], model.detect([picture(COFFEE)])[0])
    ((link, _),) = exports(tmp_path / "cache").items()
    assert (tmp_path / "cache" / link).readlink() == tmp_path / "there" / "best.onnx"


@pytest.mark.parametrize("name", ["w.ONNX", "w.txt", "an_openvino_model"])
def test_what_is_no_model_by_its_name_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    with pytest.raises(ValueError, match=rf"{name}: expected a .pt, .onnx or .engine file or an OpenVINO folder"):
        model_of(tmp_path / name, tmp_path / "cache")


@needs_shared
def test_nothing_is_written_outside_the_cache(model: ObjectModel, cache: Path) -> None:
    assert model.name
    assert not list(WEIGHTS.parent.glob("*_openvino_model"))
    assert Path(os.environ["YOLO_CONFIG_DIR"]).is_dir()
    assert {entry.name for entry in cache.iterdir()} <= {*exports(cache), "export.lock", "Ultralytics"}


@pytest.mark.parametrize("name", ["text.pt", "text.onnx", "text.engine", "text_openvino_model"])
def test_a_text_under_a_models_name_is_refused_with_its_path(name: str, tmp_path: Path) -> None:
    weights = tmp_path / name
    if name.endswith("_openvino_model"):
        weights.mkdir()
        (weights / "text.xml").write_text("no model")
    else:
        weights.write_text("no model")
    with pytest.raises(ValueError, match=rf"object model .*{name}: no usable model") as refused:
        model_of(weights, tmp_path / "cache")
    assert "\n" not in str(refused.value)
    assert not exports(tmp_path / "cache")


@pytest.mark.filterwarnings("ignore")  # torch's about how Ultralytics traces
@pytest.mark.parametrize("end_to_end", [False, True])
def test_classic_and_end_to_end_heads_are_both_read(end_to_end: bool, tmp_path: Path) -> None:  # noqa: FBT001
    # A network of random weights sees nothing real: what counts is that its boxes are read as boxes of the picture.
    made = random_yolo26(tmp_path, names=dict.fromkeys(range(80), "phone"))
    folder = Path(made.export(format="openvino", imgsz=160, dynamic=True, device="cpu", nms=not end_to_end and None))
    model = model_of(folder, tmp_path / "cache", image_size_px=160, confidence=0.0)
    assert model._predictor.model.end2end is end_to_end  # noqa: SLF001 - that the export is what the test is about
    for found in model.detect([np.full((120, 200, 3), 90, np.uint8)] * 2):
        assert 0 < len(found) <= 300
        assert {thing.label for thing in found} == {"phone"}
        boxes = np.array([thing.xyxy for thing in found])
        assert (boxes >= 0).all()
        assert (boxes <= [200, 120, 200, 120]).all()


def test_a_model_without_any_of_the_objects_is_refused(tmp_path: Path) -> None:
    made = random_yolo26(tmp_path, names={number: f"animal {number}" for number in range(80)})
    with pytest.raises(ValueError, match=r"none of its 80 classes is one of bottle, "):
        model_of(Path(made.ckpt_path), tmp_path / "cache", image_size_px=160)


def test_a_model_of_another_task_is_refused(tmp_path: Path) -> None:
    made = random_yolo26(tmp_path, names=None, kind="yolo26n-cls.yaml")
    with pytest.raises(ValueError, match="it was made to classify, expected one made to detect"):
        model_of(Path(made.ckpt_path), tmp_path / "cache", image_size_px=160)


def random_yolo26(folder: Path, names: dict[int, str] | None, kind: str = "yolo26n.yaml") -> Any:
    """An untrained YOLO26, saved and loaded from `folder`; no file of weights is needed for it."""
    from ultralytics.models import YOLO  # noqa: PLC0415 - heavy

    made: Any = YOLO(kind)
    if names:
        made.model.names = names
    made.save(folder / "random.pt")
    return YOLO(folder / "random.pt")
