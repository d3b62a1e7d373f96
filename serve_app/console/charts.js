// Charts over time: uPlot in the page's colours, with limits as lines, and a description for who does not see them.
import { html, uPlot, useEffect, useRef } from "./lib.js";

const dark = matchMedia("(prefers-color-scheme: dark)");
const colours = new Map();
dark.addEventListener("change", () => colours.clear());

// A colour of the style sheet as a canvas understands it: `light-dark()` is none.
function css(name) {
  if (!colours.has(name)) {
    const probe = document.body.appendChild(document.createElement("i"));
    probe.style.color = `var(${name})`;
    colours.set(name, getComputedStyle(probe).color);
    probe.remove();
  }
  return colours.get(name);
}

// The measures of a face, as they are drawn; `of` takes them from an observation's face.
export const MEASURES = {
  eyes: {
    title: "Eyes",
    of: (face) => face.eye_blink ?? face.ear,
    about: (byShare) => (byShare ? "how far the lids are shut, 0 to 1" : "eye aspect ratio: shut is near 0"),
    lines: (limits) => [limits.blink_closed ?? limits.ear_closed],
    range: (byShare) => [0, byShare ? 1 : 0.5],
  },
  mouth: {
    title: "Mouth",
    of: (face) => face.jaw_open ?? face.mar,
    about: (byShare) => (byShare ? "how far the jaw is down, 0 to 1" : "mouth aspect ratio"),
    lines: (limits) => [limits.jaw_open ?? limits.mar_open],
    range: (byShare) => [0, byShare ? 1 : 2],
  },
  yaw: {
    title: "Head turned",
    of: (face) => face.yaw_deg,
    about: () => "degrees, positive to the right of the picture",
    lines: (limits) => limits.yaw_deg,
    range: () => [-90, 90],
  },
  pitch: {
    title: "Head raised",
    of: (face) => face.pitch_deg,
    about: () => "degrees, positive up",
    lines: (limits) => limits.pitch_deg,
    range: () => [-60, 60],
  },
};

// As a chart draws them, from rows of { at, face }: nothing is known between two frames more than a second apart.
export function strip(rows) {
  const times = [];
  const faces = [];
  for (const { at, face } of rows) {
    if (times.length && at - times.at(-1) > 1) {
      times.push(times.at(-1) + 0.001);
      faces.push(null);
    }
    times.push(at);
    faces.push(face);
  }
  return { times, faces };
}

const lines = (limits) => ({
  hooks: {
    draw: (chart) => {
      const { ctx, bbox } = chart;
      ctx.save();
      ctx.strokeStyle = css("--limit");
      ctx.lineWidth = devicePixelRatio;
      ctx.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
      for (const limit of limits()) {
        const y = chart.valToPos(limit, "y", true);
        ctx.beginPath();
        ctx.moveTo(bbox.left, y);
        ctx.lineTo(bbox.left + bbox.width, y);
        ctx.stroke();
      }
      ctx.restore();
    },
  },
});

const spans = (areas, mark) => ({
  hooks: {
    drawClear: (chart) => {
      const { ctx, bbox } = chart;
      ctx.save();
      ctx.beginPath();
      ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
      ctx.clip();
      ctx.fillStyle = css("--area");
      for (const [from, to] of areas()) {
        const left = chart.valToPos(from, "x", true);
        ctx.fillRect(left, bbox.top, Math.max(2, chart.valToPos(to, "x", true) - left), bbox.height);
      }
      ctx.restore();
    },
    draw: (chart) => {
      const at = mark();
      if (at === undefined) return;
      const { ctx, bbox } = chart;
      const x = chart.valToPos(at, "x", true);
      ctx.save();
      ctx.strokeStyle = css("--text");
      ctx.lineWidth = devicePixelRatio;
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      ctx.restore();
    },
  },
});

// `data` is [seconds[], values[]]; `limits` values to draw as lines; `areas` [from, to] in seconds to shade;
// `at` a second to mark; `range` of the values, wider where they are; `window` [from, to] in seconds to show.
const NONE = [];

export function Chart({ title, about, data, limits = NONE, areas = NONE, at, range, window, format, onPick }) {
  const place = useRef(null);
  const chart = useRef(null);
  const now = useRef({});
  now.current = { limits, areas, at, range, window, format, onPick };
  useEffect(() => {
    const axis = () => ({
      stroke: () => css("--soft"),
      grid: { stroke: () => css("--line"), width: 1 },
      ticks: { stroke: () => css("--line"), width: 1 },
      font: "11px system-ui, sans-serif",
    });
    const made = new uPlot(
      {
        width: place.current.clientWidth,
        height: 110,
        legend: { show: false },
        cursor: { y: false, drag: { x: false, y: false } },
        scales: {
          x: { time: false, range: (_, least, most) => now.current.window ?? [least ?? 0, most ?? 1] },
          y: {
            range: (_, least, most) => {
              const [low, high] = now.current.range;
              return [Math.min(low, least ?? low), Math.max(high, most ?? high)];
            },
          },
        },
        axes: [
          {
            ...axis(),
            size: 24,
            incrs: [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400], // whole seconds, as a clock shows
            values: (_, ticks) => ticks.map((one) => (one < 0 ? "" : now.current.format(one))),
          },
          { ...axis(), size: 38, space: 20 },
        ],
        series: [{}, { stroke: () => css("--accent"), width: 1.5, spanGaps: false, points: { show: false } }],
        plugins: [spans(() => now.current.areas, () => now.current.at), lines(() => now.current.limits)],
      },
      data,
      place.current,
    );
    chart.current = made;
    const pick = (event) => {
      const box = made.over.getBoundingClientRect();
      now.current.onPick?.(made.posToVal(event.clientX - box.left, "x"));
    };
    made.over.addEventListener("click", pick);
    const wide = new ResizeObserver(() => made.setSize({ width: place.current.clientWidth, height: 110 }));
    wide.observe(place.current);
    const recolour = () => made.redraw();
    dark.addEventListener("change", recolour);
    return () => {
      dark.removeEventListener("change", recolour);
      wide.disconnect();
      made.destroy();
    };
  }, []);
  useEffect(() => chart.current.setData(data), [data]);
  useEffect(() => chart.current.redraw(false), [at, limits, areas]);
  const last = data[1].findLast((value) => value !== null);
  return html`
    <figure class="chart">
      <figcaption><strong>${title}</strong> <span>${about}</span>
        <span class="last">${last === undefined ? "–" : last.toFixed(2)}</span>
      </figcaption>
      <div ref=${place} role="img" aria-label="${title}: ${about}, over time"></div>
    </figure>`;
}
