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
      ${pages.more ? html`<button onClick=${pages.more}>Older</button>` : html`<span>no older ones</span>`}
    </p>`;
}

export const Time = ({ of }) => html`<time datetime=${of}>${time(of)}</time>`;

// A form of filters that lives in the page's address, so that it can be sent to someone.
export function Filters({ query, path, children }) {
  const take = (event) => {
    event.preventDefault();
    const said = new URLSearchParams();
    for (const [name, value] of new FormData(event.currentTarget)) if (value) said.set(name, value);
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
  <label>${label}<input name=${name} type=${type} defaultValue=${value ?? ""} ...${rest} /></label>`;

export const Choice = ({ label, name, value, options }) => html`
  <label>${label}
    <select name=${name}>
      ${options.map(([of, text]) => html`<option value=${of} selected=${of === (value ?? "")}>${text}</option>`)}
    </select>
  </label>`;

// A time of a form in the browser's zone, as the service wants it.
export const utc = (local) => (local ? new Date(local).toISOString() : undefined);

export function useNow(every = 1000) {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), every);
    return () => clearInterval(timer);
  }, [every]);
  return now;
}
