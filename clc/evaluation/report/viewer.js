// Two versions of one picture over each other: a divider that is dragged, or one flips to the other.
"use strict";
(() => {
  if (!byId("viewer") || !DATA.viewed.length) return;
  const ORIGINAL = "original";
  const stage = byId("v-stage");
  const images = { left: byId("v-a"), right: byId("v-b") };
  const state = { picture: 0, left: DATA.test, right: ORIGINAL, step: 0, zoom: 0, x: 0, y: 0, split: 0.5, isFlip: false, isRightUp: false };

  const picture = () => DATA.viewed[state.picture];
  const step = () => picture().steps[state.step];
  const fit = () => stage.clientWidth / picture().size[0];
  const scaleNow = () => (state.zoom === 0 ? fit() : state.zoom);

  function fill(select, options, value) {
    select.replaceChildren(...options.map(([key, text]) => new Option(text, key)));
    select.value = value;
  }

  function codecs() {
    return [ORIGINAL, ...Object.keys(step())];
  }

  function place() {
    const [width, height] = picture().size;
    const scale = scaleNow();
    const shown = { width: stage.clientWidth, height: stage.clientHeight };
    state.x = Math.min(0, Math.max(shown.width - width * scale, state.x));
    state.y = Math.min(0, Math.max(shown.height - height * scale, state.y));
    for (const image of Object.values(images)) {
      image.style.width = width + "px";
      image.style.height = height + "px";
      image.style.transform = `translate(${state.x}px, ${state.y}px) scale(${scale})`;
      image.style.imageRendering = scale >= 1 ? "pixelated" : "auto";
    }
    const at = state.split * shown.width;
    const over = byId("v-over");
    over.style.clipPath = state.isFlip ? "none" : `inset(0 0 0 ${at}px)`;
    over.style.visibility = state.isFlip && !state.isRightUp ? "hidden" : "visible";
    byId("v-divider").style.left = at + "px";
    byId("v-divider").hidden = state.isFlip;
    byId("v-tag-left").hidden = state.isFlip && state.isRightUp;
    byId("v-tag-right").hidden = state.isFlip && !state.isRightUp;
    stage.classList.toggle("zoomed", scale > fit() + 1e-9);
    stage.classList.toggle("flip", state.isFlip);
  }

  function caption(codec) {
    const text = document.createElement("b");
    text.textContent = codec;
    const shot = step()[codec];
    const psnr = shot && (shot.psnr_db === null ? "lossless" : shot.psnr_db.toFixed(2) + " dB");
    const similarity = shot && shot.ms_ssim !== null ? ` · MS-SSIM ${shot.ms_ssim.toFixed(4)}` : "";
    const figures = shot ? ` quality ${shot.quality} · ${bytesText(shot.bytes)} · ${shot.bpp.toFixed(3)} bpp · ${psnr}${similarity}` : " as it is";
    return [text, document.createTextNode(figures)];
  }

  function show() {
    for (const side of ["left", "right"]) {
      const codec = state[side];
      const uri = codec === ORIGINAL ? picture().original : step()[codec].uri;
      if (images[side].getAttribute("src") !== uri) images[side].src = uri;
      byId(`v-tag-${side}`).textContent = codec;
      byId(`v-caption-${side}`).replaceChildren(...caption(codec));
    }
    const own = step()[DATA.test];
    byId("v-rate-text").textContent = `about ${bytesText(own.bytes)}, ${own.bpp.toFixed(3)} bits per pixel`;
    place();
  }

  function choosePicture(index) {
    state.picture = index;
    const { size, steps, part } = picture();
    byId("v-rate").max = steps.length - 1;
    state.step = Math.min(state.step, steps.length - 1);
    byId("v-rate").value = state.step;
    for (const side of ["left", "right"]) {
      if (!codecs().includes(state[side])) state[side] = side === "left" ? DATA.test : ORIGINAL;
      fill(byId(`v-${side}`), codecs().map((codec) => [codec, codec]), state[side]);
    }
    byId("v-part").textContent = part ? "Shown is a part: " + part + "." : "";
    stage.style.aspectRatio = `${size[0]} / ${size[1]}`;
    // A tall picture is as high as the window at most.
    stage.style.maxWidth = `min(100%, ${Math.round((size[0] / size[1]) * 78)}vh)`;
    [state.x, state.y] = [0, 0];
    show();
  }

  function setZoom(zoom) {
    const before = scaleNow();
    const middle = { x: stage.clientWidth / 2, y: stage.clientHeight / 2 };
    state.zoom = zoom;
    const ratio = scaleNow() / before;
    state.x = middle.x - (middle.x - state.x) * ratio;
    state.y = middle.y - (middle.y - state.y) * ratio;
    place();
  }

  function setMode(isFlip) {
    state.isFlip = isFlip;
    byId("v-slide").setAttribute("aria-pressed", String(!isFlip));
    byId("v-flip").setAttribute("aria-pressed", String(isFlip));
    place();
  }

  function flip() {
    state.isRightUp = !state.isRightUp;
    place();
  }

  let drag = null;
  stage.addEventListener("pointerdown", (event) => {
    const x = event.clientX - stage.getBoundingClientRect().left;
    const isZoomed = stage.classList.contains("zoomed");
    const isDivider = !state.isFlip && (!isZoomed || Math.abs(x - state.split * stage.clientWidth) < 28);
    drag = { x: event.clientX, y: event.clientY, isDivider, hasMoved: false };
    stage.setPointerCapture(event.pointerId);
    if (isDivider) moveDivider(event);
  });
  stage.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
    drag.hasMoved ||= Math.hypot(dx, dy) > 4;
    if (drag.isDivider) return moveDivider(event);
    state.x += dx;
    state.y += dy;
    [drag.x, drag.y] = [event.clientX, event.clientY];
    place();
  });
  stage.addEventListener("pointerup", () => {
    if (drag && state.isFlip && !drag.hasMoved) flip();
    drag = null;
  });
  stage.addEventListener("pointercancel", () => { drag = null; });
  function moveDivider(event) {
    const box = stage.getBoundingClientRect();
    state.split = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    place();
  }
  stage.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: -0.02, ArrowRight: 0.02 };
    if (event.key in moves) state.split = Math.min(1, Math.max(0, state.split + moves[event.key]));
    else if (event.key === " ") return event.preventDefault(), setMode(true), flip();
    else return;
    event.preventDefault();
    place();
  });

  fill(byId("v-picture"), DATA.viewed.map((one, index) => [index, one.name]), 0);
  byId("v-picture").addEventListener("change", (event) => choosePicture(Number(event.target.value)));
  for (const side of ["left", "right"]) {
    byId(`v-${side}`).addEventListener("change", (event) => { state[side] = event.target.value; show(); });
  }
  byId("v-rate").addEventListener("input", (event) => { state.step = Number(event.target.value); show(); });
  byId("v-zoom").addEventListener("change", (event) => setZoom(Number(event.target.value)));
  byId("v-slide").addEventListener("click", () => setMode(false));
  byId("v-flip").addEventListener("click", () => { if (state.isFlip) flip(); setMode(true); });
  new ResizeObserver(place).observe(stage);
  state.step = Math.min(1, DATA.viewed[0].steps.length - 1);
  // Against the first baseline rather than the original: that is the question.
  const first = Object.keys(DATA.viewed[0].steps[0]).find((codec) => codec !== DATA.test);
  [state.left, state.right] = first ? [first, DATA.test] : [ORIGINAL, DATA.test];
  choosePicture(0);
})();
