// What a vehicle shows now, over `WS /v1/live/{uuid}`: pictures onto a canvas, messages to whoever asked for them.
import { useEffect, useRef, useState } from "./lib.js";

const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 5000;
const KEPT_MS = 3000; // a picture older than this is no live one

export class LiveSocket {
  // `said` takes each JSON message, `shown` the number of each frame that was drawn, `state` one of
  // connecting, waiting (no frame yet), live, still (no frame for a while), broker away, not allowed (by the broker), reconnecting.
  constructor(vehicle, canvas, { observations = false, said = () => {}, shown = () => {}, state = () => {} }) {
    Object.assign(this, { vehicle, canvas, observations, said, shown, state });
    this.retry = FIRST_RETRY_MS;
    this.now = "";
    this.connected = false; // to the service
    this.failed = false; // to connect, or to stay so
    this.broker = ""; // what is wrong with the service's own connection to it
    this.drawnAt = -Infinity;
    this.open();
    this.watch = setInterval(() => this.tell(), 500);
  }

  open() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const query = this.observations ? "?observations=1" : "";
    const socket = new WebSocket(`${scheme}://${location.host}/v1/live/${this.vehicle}${query}`);
    this.socket = socket;
    this.number = this.drawn = 0;
    socket.binaryType = "blob";
    socket.onopen = () => {
      this.retry = FIRST_RETRY_MS;
      this.connected = true;
      this.broker = "";
      this.drawnAt = -Infinity;
      this.tell();
    };
    socket.onmessage = ({ data }) => {
      if (typeof data === "string") this.hear(JSON.parse(data));
      else this.draw(data, (this.number += 1), socket);
    };
    socket.onclose = () => {
      this.connected = false;
      if (this.closed) return;
      this.failed = true;
      this.tell();
      this.timer = setTimeout(() => this.open(), this.retry * (0.5 + Math.random()));
      this.retry = Math.min(2 * this.retry, LONGEST_RETRY_MS);
    };
  }

  hear(message) {
    if (message.id === undefined && message.broker) {
      this.broker = message.broker === "connected" ? "" : message.broker;
      this.tell();
    }
    this.said(message);
  }

  async draw(blob, number, socket) {
    try {
      const picture = await createImageBitmap(blob);
      if (this.closed || socket !== this.socket || number < this.drawn) return picture.close(); // a later one was faster
      this.drawn = number;
      const { canvas } = this;
      if (canvas.width !== picture.width || canvas.height !== picture.height) {
        canvas.width = picture.width;
        canvas.height = picture.height;
      }
      canvas.getContext("2d").drawImage(picture, 0, 0);
      picture.close();
      this.drawnAt = performance.now();
      this.tell();
      this.shown(number);
    } catch {
      // A JPEG that does not decode: the service counts it, the next one comes.
    } finally {
      // Said for each frame, so that none wait for this page: the next that comes is the latest.
      if (socket.readyState === WebSocket.OPEN) socket.send("shown");
    }
  }

  tell() {
    let state = "live";
    if (!this.connected) state = this.failed ? "reconnecting" : "connecting";
    else if (this.broker) state = this.broker.startsWith("refused") ? "not allowed" : "broker away";
    else if (this.drawnAt === -Infinity) state = "waiting";
    else if (performance.now() - this.drawnAt > KEPT_MS) state = "still";
    if (state !== this.now) {
      this.now = state;
      this.state(state);
    }
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    clearInterval(this.watch);
    this.socket.close();
  }
}

export const LIVE_TEXT = {
  connecting: "connecting",
  waiting: "no picture yet",
  live: "live",
  still: "no new picture",
  "broker away": "the service has lost its broker",
  "not allowed": "the broker lets the service watch nothing (its ACL)",
  reconnecting: "reconnecting",
};

// A canvas that is live while it can be seen.
export function useLive(vehicle, options = {}) {
  const canvas = useRef(null);
  const handlers = useRef(options);
  handlers.current = options;
  const [state, setState] = useState("connecting");
  useEffect(() => {
    let socket = null;
    const begin = () => {
      socket ??= new LiveSocket(vehicle, canvas.current, {
        observations: options.observations,
        said: (message) => handlers.current.said?.(message),
        shown: (number) => handlers.current.shown?.(number),
        state: setState,
      });
    };
    const end = () => {
      socket?.close();
      socket = null;
    };
    let seen = false;
    const follow = () => (seen && !document.hidden ? begin() : end());
    const watch = new IntersectionObserver((entries) => {
      seen = entries.at(-1).isIntersecting;
      follow();
    });
    watch.observe(canvas.current);
    document.addEventListener("visibilitychange", follow);
    return () => {
      watch.disconnect();
      document.removeEventListener("visibilitychange", follow);
      end();
    };
  }, [vehicle]);
  return { canvas, state };
}
