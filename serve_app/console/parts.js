// What several pages are made of.
import { html, useEffect, useState } from "./lib.js";
import { kindName, time } from "./format.js";

export const Severity = ({ severity, children }) =>
  html`<span class="severity ${severity}"><span class="mark" aria-hidden="true"></span>${children ?? severity}</span>`;

export const EventLink = ({ event }) => html`
  <a class="event" href="#/events/${event.id}"><${Severity} severity=${event.severity}>${kindName(event.kind)}<//></a>`;

export const Loading = ({ what }) => html`<p class="state" role="status">Loading ${what}…</p>`;

export const Empty = ({ children }) => html`<div class="state empty">${children}</div>`;

export const Fault = ({ error, again }) => html`
  <div class="state fault" role="alert">
    <p>${error.message}</p>
    ${again && html`<button onClick=${again}>Try again</button>`}
  </div>`;

// One of: still loading, failed and nothing known, or the content with a word about a failure.
export function Shown({ answer, what, children }) {
  if (answer.data === undefined) {
    return answer.error ? html`<${Fault} error=${answer.error} again=${answer.again} />` : html`<${Loading} what=${what} />`;
  }
  return html`
    ${answer.error && html`<p class="state fault" role="alert">${answer.error.message} What stands here is of before.</p>`}
    ${children(answer.data)}`;
}

export function Pages({ pages, what, empty, children }) {
  if (pages.items === undefined) {
    return pages.error ? html`<${Fault} error=${pages.error} again=${pages.again} />` : html`<${Loading} what=${what} />`;
  }
  if (!pages.items.length) return html`<${Empty}>${empty}<//>`;
  return html`
    ${children(pages.items)}
    ${pages.error && html`<${Fault} error=${pages.error} />`}
    <p class="more">
      <span role="status">${pages.items.length} ${what}</span>
      ${pages.more ? html`<button onClick=${pages.more} disabled=${pages.busy}>Older</button>` : html`<span>no older ones</span>`}
    </p>`;
}

export const Time = ({ of }) => html`<time datetime=${of}>${time(of)}</time>`;

// A form of filters that lives in the page's address, so that it can be sent to someone.
export function Filters({ query, path, children }) {
  const take = (event) => {
    event.preventDefault();
    const said = new URLSearchParams();
    const form = event.currentTarget;
    for (const [name, value] of new FormData(form)) {
      if (value) said.set(name, form.elements[name].type === "datetime-local" ? utc(value) ?? "" : value);
    }
    document.getElementById("main").focus(); // the form is made anew
    location.hash = `${path}${said.size ? `?${said}` : ""}`;
  };
  return html`
    <form class="filters" onSubmit=${take} key=${JSON.stringify(query)}>
      ${children}
      <button>Show</button>
      <a href="#${path}">All</a>
    </form>`;
}

export const Field = ({ label, name, value, type = "text", ...rest }) => html`
  <label>${label}<input name=${name} type=${type} defaultValue=${type === "datetime-local" ? local(value) : (value ?? "")} ...${rest} /></label>`;

export const Choice = ({ label, name, value, options }) => html`
  <label>${label}
    <select name=${name}>
      ${options.map(([of, text]) => html`<option value=${of} selected=${of === (value ?? "")}>${text}</option>`)}
    </select>
  </label>`;

// The address has times in UTC, so that they are the same for everybody; a form has them in the browser's zone.
const isTime = (text) => /^\d{4}-\d\d-\d\dT[\d:.]+Z?$/.test(text ?? "") && !Number.isNaN(Date.parse(text));
export const utc = (text) => (isTime(text) ? new Date(text).toISOString() : undefined);
const local = (text) => {
  if (!isTime(text)) return "";
  const time = new Date(text);
  return new Date(time - 60_000 * time.getTimezoneOffset()).toISOString().slice(0, 16);
};

export function useNow(every = 1000) {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), every);
    return () => clearInterval(timer);
  }, [every]);
  return now;
}
