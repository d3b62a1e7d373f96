// The libraries, which index.html loads as scripts, as a module: the one place that names them.
const { h, render } = window.preact;
const { useCallback, useEffect, useMemo, useRef, useState } = window.preactHooks;
const { uPlot } = window;
const html = window.htm.bind(h);

export { html, render, uPlot, useCallback, useEffect, useMemo, useRef, useState };
