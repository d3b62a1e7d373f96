// Events: the list, and one of them with the reasons for it.
import { html, useMemo } from "./lib.js";
import { useAnswer, usePages } from "./api.js";
import { strip } from "./charts.js";
import { KINDS, clock, kindName, number, peakText, seconds, short } from "./format.js";
import { Choice, EventLink, Fault, Field, Filters, Loading, Pages, Severity, Shown, Time, utc } from "./parts.js";
import { Profiles } from "./profiles.js";
import { faceOf } from "./trips.js";
import { Strips } from "./vehicle.js";

const BEFORE_S = 15;
const AFTER_S = 5;

export function Events({ query }) {
  const pages = usePages("/v1/events", {
    vehicle: query.vehicle,
    kind: query.kind,
    since: utc(query.since),
    until: utc(query.until),
  });
  return html`
    <h1>Events</h1>
    <${Filters} query=${query} path="/events">
      <${Choice} label="Kind" name="kind" value=${query.kind} options=${[["", "all"], ...KINDS.map((kind) => [kind, kindName(kind)])]} />
      <${Field} label="Vehicle" name="vehicle" value=${query.vehicle} placeholder="UUID" size="36" />
      <${Field} label="Begun from" name="since" type="datetime-local" value=${query.since} />
      <${Field} label="to" name="until" type="datetime-local" value=${query.until} />
    <//>
    <${Pages} pages=${pages} what="events" empty=${html`<p>No stored event fits this. Those of an open trip are stored when it ends.</p>`}>
      ${(events) => html`
        <div class="scroll" tabindex="0" role="region" aria-label="Events">
          <table>
            <thead><tr><th>Began</th><th>Event</th><th>Vehicle</th><th>Lasted</th><th>Worst</th><th>Trip</th></tr></thead>
            <tbody>
              ${events.map(
                (event) => html`
                  <tr key=${event.id}>
                    <td><${Time} of=${event.started_at} /></td>
                    <td><${EventLink} event=${event} /></td>
                    <td><a href="#/vehicles/${event.vehicle}" title=${event.vehicle}>${short(event.vehicle)}</a></td>
                    <td>${event.ended_at ? clock(seconds(event.started_at, event.ended_at)) : "runs"}</td>
                    <td>${peakText(event.peak)}</td>
                    <td><a href="#/trips/${event.trip}" title=${event.trip}>${short(event.trip)}</a></td>
                  </tr>`,
              )}
            </tbody>
          </table>
        </div>`}
    <//>`;
}

// What decides about each kind, in a sentence of the profile's numbers.
const RULES = {
  microsleep: (l) => `The eyes were closed for ${l.microsleep_s} s or longer. It ends when they have been open for ${l.microsleep_end_s} s.`,
  sleep: (l) => `The eyes were closed for ${l.sleep_s} s or longer. It ends when they have been open for ${l.sleep_end_s} s.`,
  unresponsive: (l) => `Eyes closed or head away for ${l.unresponsive_s} s or longer. It ends when the eyes have been open and the head forward for ${l.unresponsive_end_s} s.`,
  drowsy: (l) => `Of the last ${l.perclos_window_s} s, the eyes were closed in ${percent(l.perclos_medium)} (medium) or ${percent(l.perclos_high)} (high), with at least ${percent(l.perclos_coverage)} of that time known. It ends below ${percent(l.perclos_end)}.`,
  yawn: (l) => `The mouth was wide open for ${l.yawn_s} s or longer. It ends when it has been shut for ${l.yawn_end_s} s.`,
  yawning_repeated: (l) => `${l.yawns} yawns within ${l.yawns_window_s} s.`,
  distraction_long: (l) => `The head was away for ${l.distraction_s} s or longer. It ends when it has been forward for ${l.distraction_end_s} s.`,
  distraction_vats: (l) => `The head was away for ${l.vats_sum_s} s in total within ${l.vats_window_s} s. The sum begins anew, and the event ends, when it has been forward for ${l.vats_reset_s} s.`,
  phone_use: (l) => `A phone was seen in ${percent(l.object_share)} of the frames of ${l.phone_window_s} s or longer. It ends when none has been seen for ${l.phone_end_s} s.`,
  smoking: (l) => `A cigarette, smoke or a vape was seen in ${percent(l.object_share)} of the frames of ${l.smoking_window_s} s or longer. It ends when none has been seen for ${l.smoking_end_s} s.`,
  drinking: (l) => `A bottle or cup was seen in ${percent(l.object_share)} of the frames of ${l.drinking_window_s} s or longer. It ends when none has been seen for ${l.drinking_end_s} s.`,
  no_face: (l) => `No usable face for ${l.no_face_s} s or longer. It ends when one has been back for ${l.no_face_end_s} s.`,
  camera_blind: (l) => `No usable picture (black, white, frozen or blurred) for ${l.blind_s} s or longer. It ends when pictures have been fine for ${l.blind_end_s} s.`,
};
const percent = (share) => `${number(100 * share, 0)} %`;

function Rule({ event, profiles }) {
  const profile = profiles.find((one) => one.name === event.policy);
  if (!profile) {
    return html`<p>It was scored with <code>${event.policy}</code>, whose numbers this version of the service does not have any more.</p>`;
  }
  const limits = Object.fromEntries(profile.limits.map((limit) => [limit.name, limit]));
  const values = Object.fromEntries(profile.limits.map((limit) => [limit.name, limit.value]));
  return html`
    <p>${RULES[event.kind]?.(values)}</p>
    <div class="scroll" tabindex="0" role="region" aria-label="Numbers of the rule">
      <table>
        <thead><tr><th>Number</th><th>Value</th><th>Source</th></tr></thead>
        <tbody>
          ${(profile.of_kind[event.kind] ?? []).map(
            (name) => html`
              <tr key=${name}><th scope="row"><code>${name}</code></th><td class="number">${limits[name].value === null ? "none" : number(limits[name].value, 2)}</td><td>${limits[name].source}</td></tr>`,
          )}
        </tbody>
      </table>
    </div>`;
}

// When it was, in seconds since the trip opened.
function span(event, trip) {
  const from = seconds(trip.opened_at, event.started_at);
  return { from, to: event.ended_at ? seconds(trip.opened_at, event.ended_at) : from };
}

function Trace({ event, trip }) {
  const trace = useAnswer(event.video && `/v1/videos/${event.video}/trace`);
  const { from, to } = span(event, trip);
  const window = [Math.max(0, from - BEFORE_S), to + AFTER_S];
  const rows = useMemo(
    () => (trace.data?.frames ?? []).filter((row) => row[0] >= window[0] && row[0] <= window[1]),
    [trace.data],
  );
  const seen = useMemo(() => strip(rows.map((row) => ({ at: row[0], face: faceOf(row) }))), [rows]);
  if (!event.video) return html`<p class="soft">Without footage no trace is kept.</p>`;
  if (trace.error) return html`<${Fault} error=${trace.error} again=${trace.again} />`;
  if (!trace.data) return html`<${Loading} what="what was seen" />`;
  const objects = new Map();
  for (const row of rows) {
    if (row[0] < from || row[0] > to) continue;
    for (const [label, confidence] of row[2]) {
      const known = objects.get(label) ?? { frames: 0, best: 0 };
      objects.set(label, { frames: known.frames + 1, best: Math.max(known.best, confidence) });
    }
  }
  const during = rows.filter((row) => row[0] >= from && row[0] <= to).length;
  return html`
    <p>
      ${during} frames while it lasted${objects.size ? "; seen in them: " : ", no object in them."}
      ${[...objects].map(([label, { frames, best }]) => `${label} in ${frames} (up to ${Math.round(100 * best)} %)`).join(", ")}
    </p>
    <${Strips} ...${seen} window=${window} areas=${[[from, to]]} format=${clock} />`;
}

export function EventPage({ event: id }) {
  const answer = useAnswer(`/v1/events/${id}`);
  const event = answer.data;
  const trip = useAnswer(event && `/v1/trips/${event.trip}`);
  const profiles = useAnswer("/v1/profiles");
  if (answer.error?.status === 404) {
    return html`<h1>Event</h1><div class="state empty"><p>This event is not stored yet: it is when its trip ends.</p><button onClick=${answer.again}>Look again</button></div>`;
  }
  return html`
    <${Shown} answer=${answer} what="the event">
      ${(found) => html`
        <h1><${Severity} severity=${found.severity}>${kindName(found.kind)}<//></h1>
        <dl class="numbers wide">
          <div><dt>severity</dt><dd>${found.severity}</dd></div>
          <div><dt>began</dt><dd><${Time} of=${found.started_at} /></dd></div>
          <div><dt>lasted</dt><dd>${found.ended_at ? `${number(seconds(found.started_at, found.ended_at))} s` : "runs"}</dd></div>
          <div><dt>worst</dt><dd>${peakText(found.peak)}</dd></div>
          <div><dt>known</dt><dd>${percent(found.coverage)} of that time</dd></div>
          <div><dt>vehicle</dt><dd><a href="#/vehicles/${found.vehicle}">${found.vehicle}</a></dd></div>
          <div><dt>trip</dt><dd><a href="#/trips/${found.trip}">${found.trip}</a></dd></div>
        </dl>
        ${found.video
          ? html`<p><a class="button" href="#/trips/${found.trip}?video=${found.video}&at=${found.offset_s}">See it, at ${clock(found.offset_s)} of the footage</a></p>`
          : html`<p class="soft">There is no footage of it.</p>`}
        <h2>Why</h2>
        <${Shown} answer=${profiles} what="the rule">${(all) => html`<${Rule} event=${found} profiles=${all} />`}<//>
        <p class="soft">Scored with <code>${found.policy}</code> by <code>${found.models}</code></p>
        <h2>What the models saw</h2>
        ${trip.data ? html`<${Trace} event=${found} trip=${trip.data} />` : trip.error ? html`<${Fault} error=${trip.error} again=${trip.again} />` : html`<${Loading} what="the trip" />`}
        <h2>What other profiles would have said</h2>
        ${!found.video && html`<p class="soft">Without footage no trace is kept, so it cannot be scored again.</p>`}
        ${found.video && trip.data && html`<${Profiles} trip=${found.trip} used=${found.policy} ...${span(found, trip.data)} />`}`}
    <//>`;
}
