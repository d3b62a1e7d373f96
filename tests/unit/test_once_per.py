"""Saying the same thing at most once in a while."""

from __future__ import annotations

from models.once_per import OncePer


def test_the_same_thing_is_due_once_an_interval() -> None:
    once = OncePer(10.0)
    assert [once.due("phone", at_s) for at_s in (0.0, 0.1, 9.9, 10.0, 19.9, 20.0)] == [
        True,
        False,
        False,
        True,
        False,
        True,
    ]


def test_what_was_not_said_does_not_put_it_off() -> None:
    once = OncePer(10.0)
    assert [once.due("phone", float(at_s)) for at_s in range(31)].count(True) == 4


def test_different_things_do_not_wait_for_each_other() -> None:
    once = OncePer(10.0)
    assert once.due(("a", "phone"), 0.0)
    assert once.due(("a", "vape"), 0.1)
    assert once.due(("b", "phone"), 0.2)
    assert not once.due(("a", "phone"), 0.3)


def test_it_does_not_keep_every_name_ever_heard() -> None:
    once = OncePer(10.0)
    for number in range(20_000):
        assert once.due(number, number / 100)
    assert len(once._said_s) < 10_000  # noqa: SLF001 - its size is the story
    assert not once.due(19_999, 200.0)


class Name:
    """Counts how often it is looked up."""

    hashed = 0

    def __hash__(self) -> int:
        Name.hashed += 1
        return id(self)


def test_a_flood_of_names_costs_the_same_for_each() -> None:
    once = OncePer(10.0)
    names = [Name() for _ in range(4300)]
    for name in names:
        assert once.due(name, 0.0)
    assert Name.hashed < 10 * len(names), "the memory is tidied at every name"
