// The service's HTTP side, and components' way to it.
import { useCallback, useEffect, useRef, useState } from "./lib.js";

export class ApiError extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export async function ask(path, { query = {}, method = "GET", signal } = {}) {
  const url = new URL(path, location.origin);
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== "") url.searchParams.set(name, value);
  }
  let answer;
  try {
    answer = await fetch(url, { method, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The service does not answer.");
  }
  if (answer.status === 401) location.reload(); // the login is over: its page comes in place of this one
  const said = await answer.json().catch(() => undefined); // a proxy between may answer anything
  const isHealth = path === "/healthz" && said?.refused !== undefined; // with a 503 too
  if ((answer.ok && said !== undefined) || isHealth) return said;
  throw new ApiError(answer.status, said?.detail ?? `The service does not answer as it should (${answer.status}).`);
}

// What a path answers, asked again every so many milliseconds. While it fails, what was known last stays.
export function useAnswer(path, { query, every } = {}) {
  const [state, setState] = useState({ data: undefined, error: undefined, path: undefined });
  const [asked, setAsked] = useState(0);
  const key = `${path} ${JSON.stringify(query)}`;
  useEffect(() => {
    if (!path) return undefined;
    const stop = new AbortController();
    let timer;
    const look = async () => {
      try {
        const data = await ask(path, { query, signal: stop.signal });
        setState({ data, error: undefined, key });
      } catch (error) {
        if (error.name === "AbortError") return;
        setState((before) => ({ data: before.key === key ? before.data : undefined, error, key }));
      }
      if (every && !stop.signal.aborted) timer = setTimeout(look, every);
    };
    look();
    return () => {
      stop.abort();
      clearTimeout(timer);
    };
  }, [key, every, asked]);
  const current = state.key === key ? state : {};
  return { data: current.data, error: current.error, again: () => setAsked((n) => n + 1) };
}

// Pages of what is stored, newest first: those asked for so far in one list.
export function usePages(path, query) {
  const [pages, setPages] = useState({ key: undefined, items: [], next: undefined });
  const [error, setError] = useState();
  const key = `${path} ${JSON.stringify(query)}`;
  const [busy, setBusy] = useState(false);
  const asking = useRef(0);
  const more = useCallback(
    async (cursor) => {
      const number = (asking.current += 1); // what was asked for before does not count any more
      setBusy(true);
      try {
        const page = await ask(path, { query: { ...query, limit: 25, cursor } });
        if (asking.current !== number) return;
        setError(undefined);
        setPages((before) => ({
          key,
          items: cursor ? [...before.items, ...page.items] : page.items,
          next: page.next_cursor,
        }));
      } catch (failure) {
        if (asking.current === number) setError(failure);
      }
      if (asking.current === number) setBusy(false);
    },
    [key],
  );
  useEffect(() => {
    setError(undefined);
    more();
  }, [key]);
  const known = pages.key === key;
  return {
    items: known ? pages.items : undefined,
    error,
    busy,
    more: known && pages.next ? () => more(pages.next) : undefined,
    again: () => more(),
  };
}
