// The console: which page the address names, and what stands around it.
import { html, render, useEffect, useRef, useState } from "./lib.js";
import { useAnswer } from "./api.js";
import { EventPage, Events } from "./events.js";
import { Health } from "./health.js";
import { Empty } from "./parts.js";
import { TripPage, Trips } from "./trips.js";
import { VehiclePage } from "./vehicle.js";
import { Wall } from "./wall.js";

const PAGES = [
  [/^\/$/, "Fleet", () => html`<${Wall} />`],
  [/^\/vehicles\/([0-9a-f-]{36})$/, "Vehicle", ([vehicle]) => html`<${VehiclePage} key=${vehicle} vehicle=${vehicle} />`],
  [/^\/trips$/, "Trips", (_, query) => html`<${Trips} query=${query} />`],
  [/^\/trips\/([0-9a-f-]{36})$/, "Trip", ([trip], query) => html`<${TripPage} key=${trip} trip=${trip} query=${query} />`],
  [/^\/events$/, "Events", (_, query) => html`<${Events} query=${query} />`],
  [/^\/events\/([0-9a-f-]{36})$/, "Event", ([event]) => html`<${EventPage} key=${event} event=${event} />`],
  [/^\/health$/, "Health", () => html`<${Health} />`],
];

const NAV = [["/", "Fleet"], ["/trips", "Trips"], ["/events", "Events"], ["/health", "Health"]];

function useAddress() {
  const [address, setAddress] = useState(location.hash);
  useEffect(() => {
    const follow = () => setAddress(location.hash);
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, []);
  const [path, said] = address.replace(/^#/, "").split("?");
  return { path: path || "/", query: Object.fromEntries(new URLSearchParams(said)) };
}

function ServiceState() {
  const health = useAnswer("/healthz", { every: 5000 });
  if (health.error) return html`<p class="banner" role="alert">${health.error.message} It is asked again every few seconds.</p>`;
  if (!health.data || health.data.status === "ok") return null;
  const broker = health.data.broker === "connected" ? "" : ` Broker: ${health.data.broker}.`;
  const detectors = health.data.detector_replicas ? "" : " No Detector runs.";
  return html`<p class="banner" role="alert">Frames cannot be taken now.${broker}${detectors} <a href="#/health">Health</a></p>`;
}

function App() {
  const { path, query } = useAddress();
  const main = useRef(null);
  const before = useRef(path);
  const found = PAGES.map(([form, title, page]) => [path.match(form), title, page]).find(([match]) => match);
  useEffect(() => {
    document.title = `${found ? found[1] : "Not found"} · Fleet`;
    if (before.current !== path) {
      before.current = path;
      main.current.focus(); // else who does not see the page does not hear that it is another
      scrollTo(0, 0);
    }
  }, [path]);
  return html`
    <a class="skip" href="#main" onClick=${(event) => { event.preventDefault(); main.current.focus(); }}>To the content</a>
    <header>
      <a class="brand" href="#/"><img src="/console/icon.svg" alt="" width="28" height="28" /> Driver monitoring</a>
      <nav aria-label="Pages">
        ${NAV.map(([to, text]) => html`<a href="#${to}" aria-current=${(to === "/" ? path === "/" || path.startsWith("/vehicles") : path.startsWith(to)) ? "page" : undefined}>${text}</a>`)}
      </nav>
    </header>
    <${ServiceState} />
    <main id="main" ref=${main} tabindex="-1">
      ${found ? found[2](found[0].slice(1), query) : html`<h1>Not found</h1><${Empty}>There is no such page. <a href="#/">The fleet</a><//>`}
    </main>`;
}

render(html`<${App} />`, document.getElementById("app"));
