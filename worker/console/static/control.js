// Changes a camera's questions and pauses it, where its worker takes commands; says which value
// comes from where.

import { el, post } from "./page.js";

const FIELDS = [
  ["ask", "words", (one) => one.question ?? ""],
  ["enter", "enter at", (one) => one.enter ?? ""],
  ["exit", "exit at", (one) => one.exit ?? ""],
  ["every", "every", (one) => one.every ?? (one.every_s ? `${one.every_s}s` : "")],
];
const HELD_MS = 5000; // what was acknowledged stands until the register says it too

async function send(fields, told) {
  told.className = "quiet";
  told.textContent = "…";
  try {
    const ack = await post("api/command", fields);
    if (ack.refused) throw new Error(`${ack.refused.replaceAll("_", " ")}: ${ack.detail}`);
    told.textContent = `in effect, says ${ack.worker_id}`;
    return ack;
  } catch (error) {
    told.className = "fault";
    told.textContent = error.message;
    return null;
  }
}

class QuestionForm {
  constructor(id) {
    this.id = id;
    this.isEdited = false;
    this.heldUntil = 0;
    this.told = el("span", { class: "quiet", role: "status" });
    this.inputs = new Map();
    this.sources = new Map();
    const fields = FIELDS.map(([name, words]) => {
      const input = el("input", { name, "aria-label": `${words} of ${id}`, maxlength: 500, autocomplete: "off", oninput: () => (this.isEdited = true) });
      const source = el("span", { class: "quiet source" });
      this.inputs.set(name, input);
      this.sources.set(name, source);
      return el("label", { class: name }, words, input, source);
    });
    this.pause = el("button", { type: "button", onclick: () => this.command(this.isPaused ? "resume" : "pause") });
    this.reset = el("button", { type: "button", onclick: () => this.command("reset") }, "Back to the environment");
    this.node = el(
      "form",
      { class: "question", onsubmit: (event) => this.save(event) },
      el("h3", {}, id),
      el("div", { class: "row" }, fields),
      el("div", { class: "row" }, el("button", { class: "main" }, "Change"), this.pause, this.reset, this.told),
    );
  }

  show(asked) {
    if (performance.now() < this.heldUntil) return;
    this.isPaused = asked.paused;
    const changed = new Set(asked.changed ?? []);
    for (const [name, , of] of FIELDS) {
      if (!this.isEdited) this.inputs.get(name).value = this.inputs.get(name).defaultValue = `${of(asked)}`;
      this.sources.get(name).textContent = changed.has(name) ? "by command" : "by environment";
    }
    for (const name of ["enter", "exit"]) this.inputs.get(name).disabled = asked.enter === null;
    this.pause.textContent = asked.paused ? "Resume" : "Pause";
    this.reset.hidden = changed.size === 0;
    this.node.classList.toggle("paused", Boolean(asked.paused));
  }

  async save(event) {
    event.preventDefault();
    const fields = {};
    for (const [name, input] of this.inputs) {
      if (input.value.trim() !== input.defaultValue) fields[name] = input.value.trim();
    }
    if (Object.keys(fields).length) await this.command("change", fields);
  }

  async command(what, fields = {}) {
    const ack = await send({ do: what, question: this.id, ...fields }, this.told);
    if (!ack?.settings) return;
    if (what !== "pause" && what !== "resume") this.isEdited = false;
    const { ask, enter, exit, every } = ack.settings;
    const rule = this.inputs.get("enter").disabled ? { enter: null, exit: null } : { enter, exit };
    this.heldUntil = 0;
    this.show({ question: ask, every, ...rule, paused: ack.paused, changed: ack.changed });
    this.heldUntil = performance.now() + HELD_MS;
  }
}

export class Controls {
  constructor(camera) {
    this.camera = camera;
    this.heldUntil = 0;
    this.forms = new Map();
    this.told = el("span", { class: "quiet", role: "status" });
    this.pause = el("button", { type: "button", onclick: () => this.command(this.isPaused ? "resume" : "pause") });
    const refresh = el("button", { type: "button", onclick: () => this.command("refresh") }, "Send the next picture whole");
    this.questions = el("div", { class: "questions" });
    this.node = el(
      "details",
      { class: "control", hidden: true },
      el("summary", {}, "Change what is asked"),
      el("div", { class: "row" }, this.pause, refresh, this.told),
      el("p", { class: "quiet" }, "A question's change is in effect on all cameras that it is asked of, and stays."),
      this.questions,
    );
  }

  show(tile) {
    this.node.hidden = !tile.control;
    if (performance.now() >= this.heldUntil) this.tell(tile.paused);
    for (const [id, form] of this.forms) {
      if (tile.questions[id]) continue;
      form.node.remove();
      this.forms.delete(id);
    }
    for (const [id, asked] of Object.entries(tile.questions)) {
      if (!this.forms.has(id)) {
        this.forms.set(id, new QuestionForm(id));
        this.questions.append(this.forms.get(id).node);
      }
      this.forms.get(id).show(asked);
    }
  }

  tell(isPaused) {
    this.isPaused = isPaused;
    this.pause.textContent = isPaused ? "Resume this camera" : "Pause this camera";
  }

  async command(what) {
    const ack = await send({ do: what, camera: this.camera }, this.told);
    if (!ack) return;
    this.tell(ack.paused);
    this.heldUntil = performance.now() + HELD_MS;
  }
}
