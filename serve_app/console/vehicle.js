// One vehicle, live: the picture with what the models see in it, what its driver does, what happened.
import { html, useCallback, useEffect, useMemo, useRef, useState } from "./lib.js";
import { ApiError, ask, useAnswer, usePages } from "./api.js";
import { Chart, MEASURES, strip } from "./charts.js";
import { ago, clock, kindName, number, peakText } from "./format.js";
import { LIVE_TEXT, useLive } from "./live.js";
import { Empty, EventLink, Fault, Pages, Severity, Time, useNow } from "./parts.js";
import { lost, useRates } from "./wall.js";

const STRIP_S = 60;
const MOST_BEHIND = 5; // frames: a box that is older than that belongs to another picture

// Boxes and points over the picture, in its own pixels.
function drawSeen(canvas, picture, seen, limits) {
  if (canvas.width !== picture.width || canvas.height !== picture.height) {
    canvas.width = picture.width;
    canvas.height = picture.height;
  }
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, canvas.width, canvas.height);
  if (!seen) return;
  const scale = canvas.width / 640;
  pen.lineWidth = 2 * scale;
  pen.font = `600 ${15 * scale}px system-ui, sans-serif`;
  pen.textBaseline = "bottom";
  const box = ([left, top, right, bottom], colour, text) => {
    pen.strokeStyle = colour;
    pen.strokeRect(left, top, right - left, bottom - top);
    if (!text) return;
    const wide = pen.measureText(text).width + 8 * scale;
    const at = Math.max(top, 20 * scale);
    pen.fillStyle = colour;
    pen.fillRect(left - scale, at - 20 * scale, wide, 20 * scale);
    pen.fillStyle = "#000";
    pen.fillText(text, left + 3 * scale, at - 2 * scale);
  };
  if (seen.face) {
    const closed = limits && MEASURES.eyes.of(seen.face);
    const shut =
      limits && (limits.blink_closed === null ? closed < limits.ear_closed : closed > limits.blink_closed);
    box(seen.face.xyxy, shut ? "#ff9d9d" : "#9fe8b0");
    pen.fillStyle = shut ? "#ff9d9d" : "#9fe8b0";
    for (const [x, y] of seen.face.points) pen.fillRect(x - 1.5 * scale, y - 1.5 * scale, 3 * scale, 3 * scale);
  }
  for (const { label, confidence, xyxy } of seen.objects) {
    box(xyxy, "#ffd54a", `${label} ${Math.round(100 * confidence)} %`);
  }
}

function useStrip() {
  const rows = useRef([]);
  const [shown, setShown] = useState(strip([]));
  const take = useCallback((observations) => {
    for (const { captured_s: at, face } of observations) {
      const last = rows.current.at(-1);
      if (last && at < last.at) rows.current = []; // another trip
      rows.current.push({ at, face });
    }
    const newest = rows.current.at(-1).at;
    rows.current = rows.current.filter(({ at }) => at > newest - STRIP_S);
    setShown(strip(rows.current));
  }, []);
  return [shown, take];
}

export function Strips({ times, faces, limits, window, areas, at, format, onPick }) {
  const face = faces.findLast((one) => one);
  const drawn = useMemo(
    () => Object.entries(MEASURES).map(([name, measure]) => [name, measure, [times, faces.map((one) => (one ? measure.of(one) : null))]]),
    [times, faces],
  );
  return drawn.map(([name, { title, about, lines, range }, data]) => {
    const byShare = face ? (name === "eyes" ? face.eye_blink : face.jaw_open) !== null : true;
    return html`
      <${Chart} key=${name} title=${title} about=${about(byShare)} range=${range(byShare)} window=${window}
        data=${data} limits=${limits ? lines(limits) : undefined}
        areas=${areas} at=${at} format=${format} onPick=${onPick} />`;
  });
}

function Buttons({ vehicle, isOpen, again }) {
  const [said, setSaid] = useState();
  const dialog = useRef(null);
  const act = async (what) => {
    try {
      await ask(`/v1/streams/${vehicle}/${what}`, { method: "POST" });
      setSaid(what === "open" ? "A trip begins." : "The trip ends; its footage is being stored.");
    } catch (error) {
      setSaid(error instanceof ApiError && error.status === 404 ? "No trip is open." : error.message);
    }
    again();
  };
  return html`
    <div class="buttons">
      <button disabled=${isOpen} onClick=${() => act("open")}>Open a trip</button>
      <button disabled=${!isOpen} onClick=${() => dialog.current.showModal()}>Close the trip…</button>
      <span role="status">${said}</span>
      <dialog ref=${dialog} aria-labelledby="close-title">
        <form method="dialog" onSubmit=${() => act("close")}>
          <h2 id="close-title">Close this trip?</h2>
          <p>Its footage is stored. Frames that the device still sends are dropped until it opens another.</p>
          <button type="button" onClick=${() => dialog.current.close()}>Keep it open</button>
          <button class="danger">Close the trip</button>
        </form>
      </dialog>
    </div>`;
}

export function VehiclePage({ vehicle }) {
  const answer = useAnswer(`/v1/streams/${vehicle}`, { every: 2000 });
  const isOpen = Boolean(answer.data) && answer.error?.status !== 404;
  const stream = isOpen ? answer.data : undefined;
  const rates = useRates(useMemo(() => stream && [stream], [answer.data, isOpen]));
  const now = useNow();
  const overlay = useRef(null);
  const seen = useRef(null);
  const shownNumber = useRef(0);
  const [behind, setBehind] = useState(0);
  const [minute, take] = useStrip();
  const [said, setSaid] = useState([]);
  const past = usePages("/v1/events", { vehicle });
  const limits = stream?.limits ?? undefined;

  const redraw = () => {
    const late = seen.current ? shownNumber.current - seen.current.frame : 0;
    setBehind(late);
    if (canvas.current) drawSeen(overlay.current, canvas.current, late <= MOST_BEHIND ? seen.current : null, limits);
  };
  const { canvas, state } = useLive(vehicle, {
    observations: true,
    shown: (number) => {
      if (number < shownNumber.current) seen.current = null; // another connection
      shownNumber.current = number;
      redraw();
    },
    said: (message) => {
      if (message.id) {
        setSaid((before) => [message, ...before.filter((one) => one.id !== message.id)].slice(0, 50));
      } else if (message.observations) {
        const found = message.observations.filter((one) => one.frame !== null);
        if (found.length) seen.current = found.at(-1);
        take(message.observations);
        redraw();
      } else if (message.alert) {
        setSaid((before) => [{ alert: message.alert, at: new Date().toISOString(), id: crypto.getRandomValues(new Uint32Array(1))[0] }, ...before].slice(0, 50));
      }
    },
  });
  useEffect(() => {
    if (isOpen || !past.items || past.items.length > 25) return undefined;
    const timer = setInterval(past.again, 5000); // those of a trip that has just ended come once it is stored
    return () => clearInterval(timer);
  }, [isOpen, past.items]);

  const newest = minute.times.at(-1) ?? 0;
  return html`
    <h1>Vehicle <code>${vehicle}</code></h1>
    <div class="vehicle">
      <section aria-label="Live picture">
        <div class="picture big">
          <canvas ref=${canvas} width="640" height="480" role="img" aria-label="Live picture"></canvas>
          <canvas ref=${overlay} class="overlay" width="640" height="480" aria-hidden="true"></canvas>
          ${state !== "live" && html`<span class="veil" role="status">${LIVE_TEXT[state]}</span>`}
        </div>
        ${behind > MOST_BEHIND && html`<p class="state" role="status">Detection is ${behind} frames behind the picture; boxes are not drawn.</p>`}
        <${Buttons} vehicle=${vehicle} isOpen=${isOpen} again=${answer.again} />
        ${answer.error && answer.error.status !== 404 && html`<${Fault} error=${answer.error} again=${answer.again} />`}
        ${answer.error?.status === 404 && html`<${Empty}>No trip of this vehicle is open. <a href="#/trips?vehicle=${vehicle}">Its trips</a><//>`}
        ${stream &&
        html`
          <p class="driver big">${stream.driver_state}</p>
          <p>${stream.events.map((event) => html`<${Severity} key=${event.id} severity=${event.severity}>${kindName(event.kind)} for ${ago(event.started_at, now)}<//>`)}</p>
          <dl class="numbers wide">
            <div><dt>open for</dt><dd>${ago(stream.opened_at, now)}</dd></div>
            <div><dt>frames</dt><dd>${number(stream.frames, 0)}</dd></div>
            <div><dt>frames/s</dt><dd>${number(rates.get(stream.trip))}</dd></div>
            <div><dt>flagged</dt><dd>${number(stream.flagged, 0)}</dd></div>
            <div><dt>backlog</dt><dd>${stream.backlog}</dd></div>
            <div class=${lost(stream) ? "bad" : ""}>
              <dt>dropped</dt><dd>${lost(stream)} ${Object.entries(stream.dropped).map(([reason, count]) => `${reason} ${count}`).join(", ")}</dd>
            </div>
            <div><dt>process</dt><dd>${stream.pid ?? "starting"}</dd></div>
          </dl>
          <p class="soft">Trip <code>${stream.trip}</code></p>`}
      </section>
      <section aria-label="Last minute">
        <h2>Last minute</h2>
        <${Strips} ...${minute} limits=${limits} window=${[newest - STRIP_S, newest]} format=${clock} />
        ${!minute.times.length && html`<p class="soft">Nothing has been seen yet. Dashed: where the eyes count as closed, the mouth as open, the head as away.</p>`}
      </section>
    </div>
    <section aria-label="Events">
      <h2>Just now</h2>
      ${said.length
        ? html`<ul class="said" aria-live="polite">
            ${said.map((one) =>
              one.alert
                ? html`<li key=${one.id}><${Time} of=${one.at} /> alert: ${one.alert}</li>`
                : html`<li key=${one.id}>
                    <${Time} of=${one.started_at} />
                    <${EventLink} event=${one} />
                    ${one.ended_at ? "ended" : "runs"}, ${peakText(one.peak)}
                  </li>`,
            )}
          </ul>`
        : html`<p class="soft">Nothing since this page was opened.</p>`}
      <h2>Stored</h2>
      <${Pages} pages=${past} what="events" empty="No event of this vehicle is stored; those of an open trip are when it ends.">
        ${(items) => html`<ul class="said">
          ${items.map((one) => html`<li key=${one.id}><${Time} of=${one.started_at} /> <${EventLink} event=${one} /> ${peakText(one.peak)}</li>`)}
        </ul>`}
      <//>
    </section>`;
}
