// Trips that have ended: the list, and one of them with its footage, events and metrics.
import { html, useEffect, useMemo, useRef, useState } from "./lib.js";
import { useAnswer, usePages } from "./api.js";
import { strip } from "./charts.js";
import { clock, kindName, number, peakText, seconds, short } from "./format.js";
import { Choice, Empty, EventLink, Fault, Field, Filters, Pages, Shown, Time, utc } from "./parts.js";
import { Profiles } from "./profiles.js";
import { Strips } from "./vehicle.js";

export function Trips({ query }) {
  const pages = usePages("/v1/trips", {
    vehicle: query.vehicle,
    since: utc(query.since),
    until: utc(query.until),
    flagged: query.flagged,
  });
  return html`
    <h1>Trips</h1>
    <${Filters} query=${query} path="/trips">
      <${Field} label="Vehicle" name="vehicle" value=${query.vehicle} placeholder="UUID" size="36" />
      <${Field} label="Opened from" name="since" type="datetime-local" value=${query.since} />
      <${Field} label="to" name="until" type="datetime-local" value=${query.until} />
      <${Choice} label="Footage" name="flagged" value=${query.flagged}
        options=${[["", "with and without"], ["true", "with flagged frames"], ["false", "without"]]} />
    <//>
    <${Pages} pages=${pages} what="trips" empty=${html`<p>No trip that has ended and is stored fits this.</p>`}>
      ${(trips) => html`
        <div class="scroll" tabindex="0" role="region" aria-label="Trips">
          <table>
            <thead>
              <tr><th>Opened</th><th>Vehicle</th><th>Lasted</th><th>Frames</th><th>Flagged</th><th>Events</th><th>Closed by</th></tr>
            </thead>
            <tbody>
              ${trips.map(
                (trip) => html`
                  <tr key=${trip.uuid}>
                    <td><a href="#/trips/${trip.uuid}"><${Time} of=${trip.opened_at} /></a></td>
                    <td><a href="#/vehicles/${trip.vehicle}" title=${trip.vehicle}>${short(trip.vehicle)}</a></td>
                    <td>${clock(seconds(trip.opened_at, trip.ended_at))}</td>
                    <td class="number">${number(trip.frames, 0)}</td>
                    <td class="number">${number(trip.flagged, 0)}</td>
                    <td>${Object.entries(trip.events).map(([kind, count]) => `${kindName(kind)} ${count}`).join(", ")}</td>
                    <td>${trip.closed_by}${trip.recovered ? ", recovered" : ""}</td>
                  </tr>`,
              )}
            </tbody>
          </table>
        </div>`}
    <//>`;
}

// The faces of a trace as the live page has them, without the points.
export const faceOf = (row) =>
  row[1] && { ear: row[1][6], mar: row[1][7], yaw_deg: row[1][8], pitch_deg: row[1][9], eye_blink: row[1][11] ?? null, jaw_open: row[1][12] ?? null };

// One part of a trip: its MP4, the events that begin in it, and what the models saw.
function Part({ video, number: part, trip, all, start }) {
  const events = useMemo(() => all.filter((event) => event.video === video.uuid), [all]);
  const player = useRef(null);
  const [length, setLength] = useState(0);
  const [at, setAt] = useState(0);
  const [broken, setBroken] = useState(false);
  const trace = useAnswer(`/v1/videos/${video.uuid}/trace`);
  const first = trace.data?.footage_first_s ?? undefined; // seconds since the trip opened, of the first picture
  const rows = trace.data?.frames ?? [];
  const seen = useMemo(() => strip(rows.map((row) => ({ at: row[0], face: faceOf(row) }))), [trace.data]);
  const seek = (to) => {
    player.current.currentTime = Math.max(0, Math.min(to, player.current.duration || to));
    setAt(player.current.currentTime);
  };
  useEffect(() => {
    if (Number.isFinite(start) && length) seek(start);
  }, [start, length]);
  const areas = useMemo(
    () =>
      events.map((event) => [
        seconds(trip.opened_at, event.started_at),
        seconds(trip.opened_at, event.ended_at ?? event.started_at),
      ]),
    [events],
  );
  return html`
    <section class="part" aria-label="Part ${part}">
      <video ref=${player} src=${video.footage} controls preload="metadata" playsinline
        onLoadedMetadata=${(event) => setLength(event.target.duration)}
        onTimeUpdate=${(event) => setAt(event.target.currentTime)}
        onError=${() => setBroken(true)}></video>
      ${broken && html`<p class="state fault" role="alert">The footage cannot be played: it may have been deleted from the store.</p>`}
      <div class="timeline" role="group" aria-label="Events of part ${part}">
        <span class="head" style=${{ left: `${length ? (100 * at) / length : 0}%` }} aria-hidden="true"></span>
        ${events.map(
          (event) => html`
            <button key=${event.id} class="at ${event.severity}" data-offset=${event.offset_s} onClick=${() => seek(event.offset_s)}
              style=${{ left: `${length ? Math.min(99, (100 * event.offset_s) / length) : 0}%` }}
              aria-label="${kindName(event.kind)}, ${event.severity}, at ${clock(event.offset_s)}"
              title="${kindName(event.kind)} at ${clock(event.offset_s)}"></button>`,
        )}
      </div>
      <p class="row">
        <span>${clock(at)} of ${clock(length)}</span>
        <a href=${video.footage} download>Download the MP4</a>
        <a href="/v1/videos/${video.uuid}/trace" download="${video.uuid}.json">Download the trace</a>
      </p>
      <ul class="said">
        ${events.map(
          (event) => html`
            <li key=${event.id}>
              <button class="link" onClick=${() => seek(event.offset_s)}>${clock(event.offset_s)}</button>
              <${EventLink} event=${event} /> ${peakText(event.peak)}
            </li>`,
        )}
      </ul>
      <h3>What was seen, frame by frame</h3>
      ${trace.error
        ? html`<${Fault} error=${trace.error} again=${trace.again} />`
        : html`
            <p class="soft">Of all frames of this part, those without footage included; shaded: events. Click to see that moment.</p>
            <${Strips} ...${seen} window=${rows.length ? [rows[0][0], rows.at(-1)[0]] : [0, 1]} areas=${areas}
              at=${first === undefined ? undefined : first + at} format=${clock}
              onPick=${(time) => first !== undefined && seek(time - first)} />`}
    </section>`;
}

export function TripPage({ trip, query }) {
  const answer = useAnswer(`/v1/trips/${trip}`);
  const events = useAnswer("/v1/events", { query: { trip, limit: 1000 } });
  const all = useMemo(() => [...(events.data?.items ?? [])].reverse(), [events.data]);
  return html`
    <h1>Trip</h1>
    <${Shown} answer=${answer} what="the trip">
      ${(found) => {
        const inVideos = new Set(found.videos.map((video) => video.uuid));
        const elsewhere = all.filter((event) => !inVideos.has(event.video));
        return html`
          <dl class="numbers wide">
            <div><dt>vehicle</dt><dd><a href="#/vehicles/${found.vehicle}">${found.vehicle}</a></dd></div>
            <div><dt>opened</dt><dd><${Time} of=${found.opened_at} /></dd></div>
            <div><dt>lasted</dt><dd>${clock(seconds(found.opened_at, found.ended_at))}</dd></div>
            <div><dt>frames</dt><dd>${number(found.frames, 0)}</dd></div>
            <div><dt>flagged</dt><dd>${number(found.flagged, 0)}</dd></div>
            <div><dt>closed by</dt><dd>${found.closed_by}${found.recovered ? ", recovered" : ""}</dd></div>
          </dl>
          <p class="soft">Trip <code>${found.uuid}</code></p>
          ${events.error && html`<${Fault} error=${events.error} again=${events.again} />`}
          ${events.data?.next_cursor && html`<p class="state">Only the last 1,000 of its events are shown.</p>`}
          ${!found.videos.length && html`<${Empty}>Nothing was flagged, so there is no footage.<//>`}
          ${found.videos.map((video, i) =>
            video.footage === null
              ? html`<${Empty} key=${video.uuid}>Its video is not one of this service: <a href=${video.url}>${video.url}</a><//>`
              : html`
                  ${found.videos.length > 1 && html`<h2>Part ${i + 1}</h2>`}
                  <${Part} key=${video.uuid} video=${video} number=${i + 1} trip=${found}
                    all=${all}
                    start=${query.video === video.uuid && query.at !== undefined ? Number(query.at) : undefined} />`,
          )}
          ${elsewhere.length > 0 &&
          html`
            <h2>Events without footage</h2>
            <ul class="said">
              ${elsewhere.map((event) => html`<li key=${event.id}><${Time} of=${event.started_at} /> <${EventLink} event=${event} /> ${peakText(event.peak)}</li>`)}
            </ul>`}
          ${found.videos.length > 0 && html`<h2>Under other profiles</h2><${Profiles} trip=${trip} />`}`;
      }}
    <//>`;
}
