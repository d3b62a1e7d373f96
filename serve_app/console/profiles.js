// What every profile would have found in a trip; asked for, since it is scored anew.
import { html, useState } from "./lib.js";
import { ask } from "./api.js";
import { clock, kindName } from "./format.js";
import { Fault, Severity } from "./parts.js";

// `from` and `to`, seconds since the trip opened: only what was in that time; `used`: the profile that was in use.
export function Profiles({ trip, from = -Infinity, to = Infinity, used }) {
  const [found, setFound] = useState();
  const look = async () => {
    setFound({ loading: true });
    try {
      setFound({ data: await ask(`/v1/trips/${trip}/profiles`) });
    } catch (error) {
      setFound({ error });
    }
  };
  if (!found) return html`<p><button onClick=${look}>Score this trip under every profile</button></p>`;
  if (found.loading) return html`<p class="state" role="status">Scoring…</p>`;
  if (found.error) return html`<${Fault} error=${found.error} again=${look} />`;
  return html`
    <div class="scroll" tabindex="0" role="region" aria-label="Under every profile">
      <table>
        <thead><tr><th>Profile</th><th>Events</th></tr></thead>
        <tbody>
          ${Object.entries(found.data).map(([profile, events]) => {
            const here = events.filter((one) => one.started_s <= to && (one.ended_s ?? one.started_s) >= from);
            return html`
              <tr key=${profile}>
                <th scope="row">${profile}${profile === used ? " (in use then)" : ""}</th>
                <td>
                  ${here.length
                    ? here.map((one) => html`<${Severity} severity=${one.severity}>${kindName(one.kind)} ${clock(one.started_s)} to ${clock(one.ended_s ?? one.started_s)}<//>`)
                    : "nothing"}
                </td>
              </tr>`;
          })}
        </tbody>
      </table>
    </div>`;
}
