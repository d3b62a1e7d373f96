// The one place that names the libraries' files.
export {
  html,
  render,
  useCallback,
  useEffect,
  useMemo,
  useRef,
  useState,
} from "./vendor/htm-preact-3.1.1.js";

export const uPlot = window.uPlot;
