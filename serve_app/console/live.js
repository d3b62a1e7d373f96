// What vehicles show now: one over `WS /v1/live/{uuid}`, with everything that is said of it, or many over `WS /v1/live`.
import { useEffect, useRef, useState } from "./lib.js";

const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 5000;
const KEPT_MS = 3000; // a picture older than this is no live one
const TELL_MS = 500;
const TILE = { desiredWidth: 320, desiredHeight: 240 }; // at most so many pixels, in steps of an eighth of the frame's sides
const MOST_TILES = 200; // that the service shows one page
const UUID_BYTES = 16;
const HEAD_BYTES = UUID_BYTES + 4; // and the JPEG's length

// A canvas, and how it is with its picture; `state` takes one of connecting, waiting (no frame yet), live, still (no frame
// for a while), broker away, not allowed (by the broker), reconnecting.
class Picture {
  constructor(canvas, state) {
    Object.assign(this, { canvas, state });
    this.now = "";
    this.reset();
  }

  reset() {
    this.number = 0; // of the message whose frame it shows
    this.drawnAt = -Infinity;
  }

  draw(bitmap, number) {
    const { canvas } = this;
    const width = bitmap.displayWidth ?? bitmap.width;
    const height = bitmap.displayHeight ?? bitmap.height;
    this.number = number;
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    this.drawnAt = performance.now();
  }

  tell({ connected, failed, broker }) {
    let state = "live";
    if (!connected) state = failed ? "reconnecting" : "connecting";
    else if (broker) state = broker.startsWith("refused") ? "not allowed" : "broker away";
    else if (this.drawnAt === -Infinity) state = "waiting";
    else if (performance.now() - this.drawnAt > KEPT_MS) state = "still";
    if (state !== this.now) {
      this.now = state;
      this.state(state);
    }
  }
}

// A WebSocket that comes back. Those who extend it have `pictures()`, and take what comes: `hear(message)`, `frames(data, number, socket)`.
class Connection {
  constructor(path) {
    this.path = path;
    this.retry = FIRST_RETRY_MS;
    this.connected = false; // to the service
    this.failed = false; // to connect, or to stay so
    this.broker = ""; // what is wrong with the service's own connection to it
    this.telling = setInterval(() => this.tell(), TELL_MS);
  }

  open() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}${this.path}`);
    this.socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.connected = true;
      this.broker = "";
      let number = 0;
      socket.onmessage = async ({ data }) => {
        this.retry = FIRST_RETRY_MS; // it is not only let in to be sent away
        if (typeof data === "string") return this.hear(JSON.parse(data));
        try {
          await this.frames(data, (number += 1), socket);
          this.tell();
        } finally {
          // Said for each message, so that none wait for this page: the next that comes is the latest.
          if (socket === this.socket) this.send("shown");
        }
      };
      for (const picture of this.pictures()) picture.reset();
      this.opened();
      this.tell();
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

  opened() {}

  send(text) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(text);
  }

  hear(message) {
    if (message.id !== undefined || !message.broker) return; // no word of the broker
    this.broker = message.broker === "connected" ? "" : message.broker;
    this.tell();
  }

  // Whether it was drawn: not one that does not decode (the service counts it), nor one that a later one has overtaken.
  draw(picture, bitmap, number, socket) {
    const due = bitmap && picture && !this.closed && socket === this.socket && number > picture.number;
    try {
      if (due) picture.draw(bitmap, number);
    } finally {
      bitmap?.close();
    }
    return due;
  }

  tell() {
    for (const picture of this.pictures()) picture.tell(this);
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    clearInterval(this.telling);
    this.socket.close();
  }
}

// One vehicle. `said` takes each JSON message, `shown` the number of each frame that was drawn.
class VehicleConnection extends Connection {
  constructor(vehicle, canvas, { observations = false, said = () => {}, shown = () => {}, state = () => {} }) {
    super(`/v1/live/${vehicle}${observations ? "?observations=1" : ""}`);
    Object.assign(this, { picture: new Picture(canvas, state), said, shown });
    this.open();
  }

  pictures() {
    return [this.picture];
  }

  hear(message) {
    super.hear(message);
    this.said(message);
  }

  async frames(jpeg, number, socket) {
    const bitmap = await decode(jpeg);
    if (this.draw(this.picture, bitmap, number, socket)) this.shown(number);
  }
}

// As many vehicles as there are tiles to be seen.
class FleetConnection extends Connection {
  constructor() {
    super("/v1/live");
    this.tiles = new Map();
    this.open();
  }

  pictures() {
    return this.tiles.values();
  }

  opened() {
    this.choose();
  }

  add(vehicle, picture) {
    this.tiles.set(vehicle, picture);
    picture.tell(this);
    this.choose();
  }

  remove(vehicle, picture) {
    if (this.tiles.get(vehicle) !== picture) return; // a later tile has taken its place
    this.tiles.delete(vehicle);
    this.choose();
  }

  // Once for all tiles that come and go at the same time.
  choose() {
    clearTimeout(this.choosing);
    this.choosing = setTimeout(() => {
      this.send(JSON.stringify({ watch: [...this.tiles.keys()].slice(0, MOST_TILES) }));
    });
  }

  async frames(group, number, socket) {
    const decoding = [];
    for (let at = 0; at < group.byteLength; ) {
      const jpegAt = at + HEAD_BYTES;
      const end = jpegAt + new DataView(group).getUint32(at + UUID_BYTES);
      const vehicle = uuid(new Uint8Array(group, at, UUID_BYTES));
      const jpeg = new Uint8Array(group, jpegAt, end - jpegAt);
      if (this.tiles.has(vehicle)) decoding.push(decodeForTile(jpeg).then((bitmap) => [vehicle, bitmap]));
      at = end;
    }
    // All at once: the page is put together anew each time that something on it has changed.
    for (const [vehicle, bitmap] of await Promise.all(decoding)) this.draw(this.tiles.get(vehicle), bitmap, number, socket);
  }
}

// Nothing for a JPEG that does not decode.
const decode = (jpeg) => createImageBitmap(new Blob([jpeg])).catch(() => null);

// No bigger than a tile needs it, which is half the work; whole where the browser has no such decoder (it has one for https
// and loopback only) or cannot make it so small.
async function decodeForTile(jpeg) {
  let decoder;
  try {
    decoder = new ImageDecoder({ type: "image/jpeg", data: jpeg, ...TILE });
    return (await decoder.decode()).image;
  } catch {
    return decode(jpeg);
  } finally {
    decoder?.close();
  }
}

function uuid(bytes) {
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
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

// Begins with the canvas whenever it comes into sight, and does what that returned when it goes.
function useInSight(canvas, vehicle, begin) {
  useEffect(() => {
    let end = null;
    let seen = false;
    const follow = (wanted) => {
      if (wanted) return (end ??= begin(canvas.current));
      end?.();
      end = null;
    };
    const look = () => follow(seen && !document.hidden);
    const watch = new IntersectionObserver((entries) => {
      seen = entries.at(-1).isIntersecting;
      look();
    });
    watch.observe(canvas.current);
    document.addEventListener("visibilitychange", look);
    return () => {
      watch.disconnect();
      document.removeEventListener("visibilitychange", look);
      follow(false);
    };
  }, [vehicle]);
}

// A canvas of one vehicle's page.
export function useLive(vehicle, options = {}) {
  const canvas = useRef(null);
  const handlers = useRef(options);
  handlers.current = options;
  const [state, setState] = useState("connecting");
  useInSight(canvas, vehicle, (element) => {
    const connection = new VehicleConnection(vehicle, element, {
      observations: options.observations,
      said: (message) => handlers.current.said?.(message),
      shown: (number) => handlers.current.shown?.(number),
      state: setState,
    });
    return () => connection.close();
  });
  return { canvas, state };
}

let fleet = null;

// A canvas among many, which share a connection.
export function useTile(vehicle) {
  const canvas = useRef(null);
  const [state, setState] = useState("connecting");
  useInSight(canvas, vehicle, (element) => {
    const mine = (fleet ??= new FleetConnection());
    const picture = new Picture(element, setState);
    mine.add(vehicle, picture);
    return () => {
      mine.remove(vehicle, picture);
      if (mine.tiles.size || fleet !== mine) return;
      mine.close();
      fleet = null;
    };
  });
  return { canvas, state };
}
