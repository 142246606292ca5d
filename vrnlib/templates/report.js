// One small WebGL viewer for all faces of the page, without a library. It moves to the face that is asked for, and
// only then is that face's mesh unpacked: fifty faces cost no more than one.
const VERTEX = `#version 300 es
in vec3 position; in vec3 normal; in vec2 uv;
uniform mat3 turn; uniform vec2 scale; uniform vec2 move;
out vec3 n; out vec2 t;
void main() {
  vec3 p = turn * position;
  n = turn * normal; t = uv;
  float w = 1.0 - 0.12 * p.z;               // a long lens: nearer parts a little larger
  gl_Position = vec4(p.xy * scale + move * w, -0.3 * p.z, w);
}`;
const FRAGMENT = `#version 300 es
precision highp float;
in vec3 n; in vec2 t;
uniform sampler2D picture; uniform float clay;
out vec4 colour;
void main() {
  vec3 m = normalize(n);
  float head = max(m.z, 0.0);
  float key = max(dot(m, normalize(vec3(-0.45, 0.55, 0.75))), 0.0);
  vec3 photo = texture(picture, t).rgb * (0.62 + 0.38 * smoothstep(0.0, 0.75, head));
  vec3 grey = vec3(0.80, 0.77, 0.73) * (0.16 + 0.34 * head + 0.52 * key);
  colour = vec4(mix(photo, grey, clay), 1.0);
}`;

// base64 of deflated planes of bytes -> positions, normals, texture coordinates, triangles
async function unpack(mesh) {
  const text = atob(mesh.data), packed = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) packed[i] = text.charCodeAt(i);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const V = mesh.vertices, N = 3 * mesh.triangles;
  const number = (start, count, i) => bytes[start + i] | bytes[start + count + i] << 8 | bytes[start + 2 * count + i] << 16;
  const raw = new Float32Array(3 * V), position = new Float32Array(3 * V), normal = new Float32Array(3 * V), uv = new Float32Array(2 * V);
  const low = [Infinity, Infinity, Infinity], high = [-Infinity, -Infinity, -Infinity];
  for (let axis = 0; axis < 3; axis++) {
    let at = 0;
    for (let i = 0; i < V; i++) {
      const z = number(0, 3 * V, axis * V + i);
      at += z & 1 ? -(z + 1) / 2 : z / 2;
      const v = (axis === 1 ? -1 : 1) * (mesh.low[axis] + at * mesh.step);   // y up
      raw[3 * i + axis] = v; low[axis] = Math.min(low[axis], v); high[axis] = Math.max(high[axis], v);
    }
  }
  const index = new Uint32Array(N), start = 9 * V;
  for (let i = 0, next = 0; i < N; i++) {
    index[i] = next - number(start, N, i);
    if (index[i] >= next) next = index[i] + 1;
  }
  const margin = 0.5 / mesh.texels, clip = (v) => Math.min(1 - margin, Math.max(margin, v));
  const centre = low.map((v, a) => (v + high[a]) / 2);
  let radius = 1e-6;
  for (let i = 0; i < V; i++) radius = Math.max(radius, Math.hypot(raw[3 * i] - centre[0], raw[3 * i + 1] - centre[1], raw[3 * i + 2] - centre[2]));
  for (let i = 0; i < V; i++) {
    for (let a = 0; a < 3; a++) position[3 * i + a] = (raw[3 * i + a] - centre[a]) / radius;
    uv[2 * i] = (clip((raw[3 * i] + 0.5) / mesh.size) + (i >= mesh.front ? 1 : 0)) / 2;
    uv[2 * i + 1] = clip((0.5 - raw[3 * i + 1]) / mesh.size);
  }
  // normals: vertices on the seam of the two pictures occur twice, and share theirs by their place
  const key = (i) => raw[3 * i] + "," + raw[3 * i + 1] + "," + raw[3 * i + 2];
  const twin = new Int32Array(V).map((_, i) => i), seen = new Map();
  for (let i = 0; i < V; i++) { const k = key(i); if (seen.has(k)) twin[i] = seen.get(k); else seen.set(k, i); }
  for (let f = 0; f < N; f += 3) {
    const [a, b, c] = [3 * index[f], 3 * index[f + 1], 3 * index[f + 2]];
    const ux = raw[b] - raw[a], uy = raw[b + 1] - raw[a + 1], uz = raw[b + 2] - raw[a + 2];
    const vx = raw[c] - raw[a], vy = raw[c + 1] - raw[a + 1], vz = raw[c + 2] - raw[a + 2];
    for (let k = 0; k < 3; k++) {
      const t = 3 * twin[index[f + k]];
      normal[t] += uy * vz - uz * vy; normal[t + 1] += uz * vx - ux * vz; normal[t + 2] += ux * vy - uy * vx;
    }
  }
  const length = (i) => Math.hypot(normal[3 * i], normal[3 * i + 1], normal[3 * i + 2]);
  for (let i = 0; i < V; i++) { const l = length(i); if (l > 0) for (let a = 0; a < 3; a++) normal[3 * i + a] /= l; }
  for (let f = 0; f < N; f++) {   // a vertex of flat triangles alone has no normal: it takes that of a neighbour
    const i = twin[index[f]], other = twin[index[f - f % 3 + (f + 1) % 3]];
    if (length(i) === 0) for (let a = 0; a < 3; a++) normal[3 * i + a] = normal[3 * other + a];
  }
  for (let i = 0; i < V; i++) for (let a = 0; a < 3; a++) normal[3 * i + a] = normal[3 * twin[i] + a];
  return { position, normal, uv, index };
}

const viewer = (() => {
  const canvas = document.createElement("canvas");
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "img");
  const gl = typeof DecompressionStream === "function" && canvas.getContext("webgl2", { antialias: true, alpha: true, premultipliedAlpha: false });
  if (!gl) return null;
  const program = gl.createProgram();
  for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source); gl.compileShader(shader); gl.attachShader(program, shader);
  }
  gl.linkProgram(program); gl.useProgram(program);
  gl.enable(gl.DEPTH_TEST); gl.enable(gl.CULL_FACE);
  const buffers = {};
  for (const [name, size] of [["position", 3], ["normal", 3], ["uv", 2]]) {
    gl.bindBuffer(gl.ARRAY_BUFFER, buffers[name] = gl.createBuffer());
    const place = gl.getAttribLocation(program, name);
    gl.enableVertexAttribArray(place);
    gl.vertexAttribPointer(place, size, gl.FLOAT, false, 0, 0);
  }
  gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
  gl.bindTexture(gl.TEXTURE_2D, gl.createTexture());
  for (const [name, value] of [[gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE], [gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE], [gl.TEXTURE_MIN_FILTER, gl.LINEAR], [gl.TEXTURE_MAG_FILTER, gl.LINEAR]])
    gl.texParameteri(gl.TEXTURE_2D, name, value);
  const at = {};
  for (const name of ["turn", "scale", "move", "clay"]) at[name] = gl.getUniformLocation(program, name);

  const view = { yaw: 0, pitch: 0, zoom: 1, x: 0, y: 0, clay: 0 };
  let count = 0, asked = false, section = null, latest = 0;
  const draw = () => { if (!asked) { asked = true; requestAnimationFrame(paint); } };
  function paint() {
    asked = false;
    const dpr = window.devicePixelRatio || 1, w = Math.round(canvas.clientWidth * dpr), h = Math.round(canvas.clientHeight * dpr);
    if (!w || !count) return;
    if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; }
    gl.viewport(0, 0, w, h);
    gl.clearColor(0, 0, 0, 0); gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    const cy = Math.cos(view.yaw), sy = Math.sin(view.yaw), cp = Math.cos(view.pitch), sp = Math.sin(view.pitch);
    gl.uniformMatrix3fv(at.turn, false, [cy, sp * sy, -cp * sy, 0, cp, sp, sy, -sp * cy, cp * cy]); // columns: pitch after yaw
    const fit = view.zoom * 0.95;
    gl.uniform2f(at.scale, fit * Math.min(1, h / w), fit * Math.min(1, w / h));
    gl.uniform2f(at.move, view.x, view.y);
    gl.uniform1f(at.clay, view.clay);
    gl.drawElements(gl.TRIANGLES, count, gl.UNSIGNED_INT, 0);
    canvas.dataset.painted = section.id;
  }
  const zoom = (f) => { view.zoom = Math.min(8, Math.max(0.4, view.zoom * f)); draw(); };
  const turn = (a, b) => { view.yaw += a; view.pitch = Math.min(1.5, Math.max(-1.5, view.pitch + b)); draw(); };
  const look = (yaw) => { Object.assign(view, { yaw, pitch: 0, zoom: 1, x: 0, y: 0 }); draw(); };

  const touches = new Map();
  canvas.addEventListener("pointerdown", (e) => { canvas.setPointerCapture(e.pointerId); touches.set(e.pointerId, e); });
  canvas.addEventListener("pointerup", (e) => touches.delete(e.pointerId));
  canvas.addEventListener("pointercancel", (e) => touches.delete(e.pointerId));
  canvas.addEventListener("pointermove", (e) => {
    const last = touches.get(e.pointerId);
    if (!last) return;
    const dx = e.clientX - last.clientX, dy = e.clientY - last.clientY;
    if (touches.size === 2) {
      const [a, b] = [...touches.values()], other = a.pointerId === e.pointerId ? b : a;
      const before = Math.hypot(last.clientX - other.clientX, last.clientY - other.clientY);
      const after = Math.hypot(e.clientX - other.clientX, e.clientY - other.clientY);
      zoom(after / Math.max(before, 1));
    } else if (e.shiftKey || e.buttons === 2) {
      view.x += 2 * dx / canvas.clientWidth; view.y -= 2 * dy / canvas.clientHeight;
    } else {
      turn(dx * 0.01, e.pointerType === "touch" ? 0 : dy * 0.01);   // a finger that moves up scrolls the page
    }
    touches.set(e.pointerId, e); draw();
  });
  canvas.addEventListener("contextmenu", (e) => e.preventDefault());
  canvas.addEventListener("wheel", (e) => { if (e.ctrlKey || document.activeElement === canvas) { e.preventDefault(); zoom(Math.exp(-e.deltaY * 0.0012)); } }, { passive: false });
  canvas.addEventListener("keydown", (e) => {
    const act = { ArrowLeft: () => turn(-0.1, 0), ArrowRight: () => turn(0.1, 0), ArrowUp: () => turn(0, -0.1), ArrowDown: () => turn(0, 0.1),
                  "+": () => zoom(1.15), "=": () => zoom(1.15), "-": () => zoom(1 / 1.15), "0": () => look(0) }[e.key];
    if (act) { e.preventDefault(); act(); }
  });
  new ResizeObserver(draw).observe(canvas);

  async function show(wanted, yaw = 0) {
    const ticket = ++latest;
    if (wanted !== section) {
      const mesh = JSON.parse(wanted.querySelector("script[type='application/json']").textContent);
      const picture = new Image();
      picture.src = mesh.picture;
      const [ready] = await Promise.all([unpack(mesh), picture.decode()]);
      if (ticket !== latest) return;   // another face was asked for meanwhile
      if (section) section.classList.remove("live");
      section = wanted;
      section.classList.add("live");
      for (const name of ["position", "normal", "uv"]) {
        gl.bindBuffer(gl.ARRAY_BUFFER, buffers[name]);
        gl.bufferData(gl.ARRAY_BUFFER, ready[name], gl.STATIC_DRAW);
      }
      gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, ready.index, gl.STATIC_DRAW);
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, gl.RGBA, gl.UNSIGNED_BYTE, picture);
      count = 3 * mesh.triangles;
      canvas.setAttribute("aria-label", "Interactive 3-D face, " + section.dataset.name + "; turn it with the arrow keys, zoom with plus and minus, zero for the front");
      section.querySelector(".frame.solid").append(canvas);
    }
    look(yaw);
    canvas.focus({ preventScroll: true });
  }
  const clay = (on) => { view.clay = on ? 1 : 0; draw(); };
  return { show, clay, shows: (s) => s === section };
})();

document.querySelectorAll("section.face").forEach((section) => {
  const solid = section.querySelector("[data-clay]");
  const show = async (yaw) => {
    if (!viewer) {
      const frame = section.querySelector(".frame.solid");
      if (!frame.querySelector(".message"))
        frame.insertAdjacentHTML("beforeend", '<div class="message" role="status">This browser has no WebGL 2, so the face cannot be turned here. The still views below show it, and the mesh file opens in any 3-D program.</div>');
      return;
    }
    await viewer.show(section, yaw);
    viewer.clay(solid.getAttribute("aria-pressed") === "true");
  };
  section.querySelector(".turn").addEventListener("click", () => show(0));
  section.querySelectorAll("[data-yaw]").forEach((b) => b.addEventListener("click", () => show(+b.dataset.yaw * Math.PI / 180)));
  solid.addEventListener("click", async () => {
    solid.setAttribute("aria-pressed", String(solid.getAttribute("aria-pressed") !== "true"));
    if (viewer && viewer.shows(section)) viewer.clay(solid.getAttribute("aria-pressed") === "true");
    else await show(0);
  });
  section.querySelector("[data-marks]").addEventListener("click", (e) => {
    const hidden = section.classList.toggle("nomarks");
    e.currentTarget.setAttribute("aria-pressed", String(!hidden));
  });
});
// #face-3&yaw=90&clay=1 opens that view, ready turned
const wanted = new URLSearchParams(location.hash.slice(1).replace(/^(face-\d+)/, "face=$1"));
const first = wanted.has("yaw") && document.getElementById(wanted.get("face") || "face-1");
if (first) {
  if (wanted.get("clay") === "1") first.querySelector("[data-clay]").setAttribute("aria-pressed", "true");
  first.scrollIntoView();
  if (viewer) viewer.show(first, +wanted.get("yaw") * Math.PI / 180).then(() => viewer.clay(wanted.get("clay") === "1"));
}
