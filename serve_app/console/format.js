// Numbers, times and names as people read them.

export const ago = (iso, now = Date.now()) => {
  const s = Math.max(0, Math.round((now - Date.parse(iso)) / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  return s < 86400 ? `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min` : `${Math.floor(s / 86400)} d`;
};

export const time = (iso) =>
  new Date(iso).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });

export const clock = (s) => {
  const whole = Math.max(0, Math.floor(s));
  const rest = `${String(Math.floor(whole / 60) % 60).padStart(2, "0")}:${String(whole % 60).padStart(2, "0")}`;
  return whole < 3600 ? rest : `${Math.floor(whole / 3600)}:${rest}`;
};

export const seconds = (from, to) => (Date.parse(to) - Date.parse(from)) / 1000;

export const number = (value, digits = 1) =>
  value === null || value === undefined ? "–" : value.toLocaleString(undefined, { maximumFractionDigits: digits });

export const short = (uuid) => uuid.slice(0, 8);

export const kindName = (kind) => kind.replaceAll("_", " ");

export const SEVERITIES = ["info", "medium", "high", "critical"];

export const KINDS = [
  "microsleep", "sleep", "unresponsive", "drowsy", "yawn", "yawning_repeated", "distraction_long",
  "distraction_vats", "phone_use", "smoking", "drinking", "no_face", "camera_blind",
];

export const MEASURES = {
  eyes_closed_s: ["eyes closed", "s"],
  absent_s: ["eyes closed or head away", "s"],
  perclos: ["share of the last minute with closed eyes", "share"],
  mouth_open_s: ["mouth open", "s"],
  yawns: ["yawns", ""],
  head_away_s: ["head away", "s"],
  seen_s: ["seen for", "s"],
  no_face_s: ["no face for", "s"],
  blind_s: ["no usable picture for", "s"],
};

export const peakText = (peak) =>
  Object.entries(peak)
    .map(([name, value]) => {
      const [text, unit] = MEASURES[name] ?? [name, ""];
      return unit === "share" ? `${text} ${number(100 * value, 0)} %` : `${text} ${number(value, 1)} ${unit}`.trim();
    })
    .join(", ") || "–";
