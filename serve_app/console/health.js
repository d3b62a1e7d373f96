// What the service depends on, and what it has to do still.
import { html } from "./lib.js";
import { useAnswer } from "./api.js";
import { number, short, time } from "./format.js";
import { Shown } from "./parts.js";

const LOOK_MS = 3000;
const fine = (said) => said === "ok" || said === "connected";

const Part = ({ name, said, ok }) => html`
  <li class=${ok ? "fine" : "bad"}><strong>${name}</strong> <span>${ok ? "✓" : "✗"} ${said}</span></li>`;

export function Health() {
  const answer = useAnswer("/healthz", { every: LOOK_MS });
  const flushes = useAnswer("/v1/flushes", { every: LOOK_MS });
  return html`
    <h1>Health</h1>
    <${Shown} answer=${answer} what="the state of the service">
      ${(health) => html`
        <p class="summary ${health.status === "ok" ? "" : "bad"}" role="status">
          ${health.status === "ok" ? "Frames are taken." : "Frames cannot be taken now."}
        </p>
        <ul class="parts">
          <${Part} name="Broker" said=${health.broker} ok=${fine(health.broker)} />
          <${Part} name="Detectors" said="${health.detector_replicas} running" ok=${health.detector_replicas > 0} />
          <${Part} name="Database" said=${health.database} ok=${fine(health.database)} />
          <${Part} name="Footage store" said=${health.storage} ok=${fine(health.storage)} />
          <${Part} name="Journals" said=${health.journal} ok=${fine(health.journal)} />
        </ul>
        <dl class="numbers wide">
          <div><dt>open streams</dt><dd>${health.streams}</dd></div>
          <div><dt>frames in a batch</dt><dd>${number(health.batch_frames)}</dd></div>
          <div><dt>object model</dt><dd>${health.object_model}</dd></div>
          <div><dt>face model</dt><dd>${health.face_model}</dd></div>
        </dl>
        <h2>Refused or dropped since the start</h2>
        ${Object.keys(health.refused).length
          ? html`
              <table class="narrow">
                <thead><tr><th>Reason</th><th>Frames or messages</th></tr></thead>
                <tbody>
                  ${Object.entries(health.refused).map(([reason, count]) => html`<tr key=${reason}><th scope="row"><code>${reason}</code></th><td class="number">${number(count, 0)}</td></tr>`)}
                </tbody>
              </table>`
          : html`<p class="soft">None.</p>`}`}
    <//>
    <h2>Being stored</h2>
    <${Shown} answer=${flushes} what="what is being stored">
      ${(parts) =>
        parts.length
          ? html`
              <div class="scroll" tabindex="0" role="region" aria-label="Being stored">
                <table>
                  <thead><tr><th>Vehicle</th><th>Trip</th><th>Part</th><th>Step</th><th>Attempt</th><th>Next try</th><th>Last error</th></tr></thead>
                  <tbody>
                    ${parts.map(
                      (part) => html`
                        <tr key="${part.trip}-${part.part}">
                          <td><a href="#/vehicles/${part.vehicle}">${short(part.vehicle)}</a></td>
                          <td>${short(part.trip)}</td>
                          <td class="number">${part.part}</td>
                          <td>${part.pid === null ? "waits for someone to take it over" : part.step}</td>
                          <td class="number">${part.attempt}</td>
                          <td>${part.next_try_at ? time(part.next_try_at) : ""}</td>
                          <td>${part.last_error ?? ""}</td>
                        </tr>`,
                    )}
                  </tbody>
                </table>
              </div>`
          : html`<p class="soft">Nothing: every trip that has ended is stored.</p>`}
    <//>`;
}
