// The fleet: a tile per open stream, those that need someone first.
import { html, useEffect, useRef, useState } from "./lib.js";
import { useAnswer } from "./api.js";
import { SEVERITIES, ago, kindName, number, short } from "./format.js";
import { LIVE_TEXT, useTile } from "./live.js";
import { Empty, Severity, Shown, useNow } from "./parts.js";

const LOOK_MS = 2000;

const worst = (stream) => Math.max(-1, ...stream.events.map((event) => SEVERITIES.indexOf(event.severity)));
const isBlind = (stream) => stream.events.some((event) => event.kind === "camera_blind");
const rank = (stream) => (isBlind(stream) ? SEVERITIES.length : worst(stream));

// Frames a second of each vehicle, between two looks.
export function useRates(streams) {
  const before = useRef(new Map());
  const [rates, setRates] = useState(new Map());
  useEffect(() => {
    if (!streams) return;
    const now = performance.now();
    const found = new Map();
    const seen = new Map();
    for (const { trip, frames } of streams) {
      const last = before.current.get(trip);
      if (last && now > last.at) found.set(trip, (1000 * (frames - last.frames)) / (now - last.at));
      seen.set(trip, { at: now, frames });
    }
    before.current = seen;
    setRates(found);
  }, [streams]);
  return rates;
}

export const lost = (stream) => Object.values(stream.dropped).reduce((sum, count) => sum + count, 0);

function Tile({ stream, fps, now }) {
  const { canvas, state } = useTile(stream.vehicle);
  const severity = isBlind(stream) ? "critical" : (SEVERITIES[worst(stream)] ?? "calm");
  return html`
    <li>
      <a class="tile ${severity}" href="#/vehicles/${stream.vehicle}" data-vehicle=${stream.vehicle}>
        <div class="picture">
          <canvas ref=${canvas} width="320" height="240" role="img" aria-label="Live picture of ${stream.vehicle}"></canvas>
          ${state !== "live" && html`<span class="veil">${LIVE_TEXT[state]}</span>`}
        </div>
        <div class="what">
          <strong title=${stream.vehicle}>${short(stream.vehicle)}</strong>
          <span class="driver">${stream.driver_state}</span>
          ${stream.events.map(
            (event) => html`<${Severity} key=${event.id} severity=${event.severity}>${kindName(event.kind)}<//>`,
          )}
        </div>
        <dl class="numbers">
          <div><dt>frames/s</dt><dd>${number(fps)}</dd></div>
          <div><dt>backlog</dt><dd>${stream.backlog}</dd></div>
          <div class=${lost(stream) ? "bad" : ""}><dt>dropped</dt><dd>${lost(stream)}</dd></div>
          <div><dt>open</dt><dd>${ago(stream.opened_at, now)}</dd></div>
        </dl>
      </a>
    </li>`;
}

export function Wall() {
  const answer = useAnswer("/v1/streams", { every: LOOK_MS });
  const rates = useRates(answer.data);
  const now = useNow();
  return html`
    <h1>Fleet</h1>
    <${Shown} answer=${answer} what="the open streams">
      ${(streams) =>
        streams.length
          ? html`
              <p class="summary" role="status">
                ${streams.length} open, ${streams.filter((one) => worst(one) >= 1 || isBlind(one)).length} that need someone
              </p>
              <ul class="wall">
                ${[...streams]
                  .sort((a, b) => rank(b) - rank(a) || a.opened_at.localeCompare(b.opened_at))
                  .map((one) => html`<${Tile} key=${one.trip} stream=${one} fps=${rates.get(one.trip)} now=${now} />`)}
              </ul>`
          : html`
              <${Empty}>
                <p>No vehicle has a stream open.</p>
                <p>A device opens one with <code>open_stream</code>; without a device,
                  <code>python -m serve_app simulate VIDEO</code> plays one. <a href="#/trips">Trips that have ended</a></p>
              <//>`}
    <//>`;
}
