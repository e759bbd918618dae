// @ts-check
// A language goes to the targets that are good at it: small models are good at few. What a person writes in is told by
// its script, and for Latin letters by its most frequent small words.

import { ids, localities, permitted } from "lockgate:plugin/catalog@0.1.0";
import { Plan, Refusal } from "lockgate:plugin/plan@0.1.0";
import { all } from "lockgate:plugin/settings@0.1.0";

/** Bytes of a message that are read: more says no more about its language. */
const TEXT_BYTES = 1024;
/** Attempts that a plan may have. */
const ATTEMPTS_MAX = 16;

/**
 * Scripts of one language, or of so few that they are treated alike. Kana comes before Han. By ranges, since the engine
 * comes without Unicode's property names.
 * @type {[string, RegExp][]}
 */
const SCRIPTS = [
  ["ja", /[\u3040-\u30ff]/g],
  ["zh", /[\u3400-\u9fff\uf900-\ufaff]/g],
  ["ko", /[\uac00-\ud7af\u1100-\u11ff\u3130-\u318f]/g],
  ["ar", /[\u0600-\u06ff\u0750-\u077f]/g],
  ["he", /[\u0590-\u05ff]/g],
  ["hi", /[\u0900-\u097f]/g],
  ["th", /[\u0e00-\u0e7f]/g],
  ["el", /[\u0370-\u03ff]/g],
  ["ru", /[\u0400-\u04ff]/g],
];
const LATIN = /[a-z\u00df-\u024f]/g;
const LATIN_WORD = /[a-z\u00df-\u024f]+/g;

/** @type {[string, Set<string>][]} The first wins a tie. */
const WORDS = [
  ["en", new Set("the and is of to in that it what you for with how are".split(" "))],
  ["de", new Set("der die das und ist nicht ein eine ich wie was mit für zu den".split(" "))],
  ["fr", new Set("le la les et est un une des que pour dans je vous comment du".split(" "))],
  ["es", new Set("el los las y es un una que por para en con cómo como del".split(" "))],
  ["it", new Set("il lo gli e è un una che per di come con sono della non".split(" "))],
  ["pt", new Set("o os as e é um uma que para em com como não do da".split(" "))],
  ["nl", new Set("de het en is een van ik niet wat hoe met voor dat op zijn".split(" "))],
];

/** @param {string} text */
function languageOf(text) {
  const lower = text.toLowerCase();
  const count = (/** @type {RegExp} */ letter) => lower.match(letter)?.length ?? 0;
  const found = SCRIPTS.map(([name, letter]) => ({ name, letters: count(letter) }));
  const letters = found.reduce((sum, script) => sum + script.letters, count(LATIN));
  // A fifth of the letters is enough: technical words are Latin in every language.
  const script = found.find((script) => script.letters * 5 > letters);
  if (script) return script.name;
  const words = lower.match(LATIN_WORD) ?? [];
  const best = WORDS.map(([name, known]) => ({ name, words: words.filter((word) => known.has(word)).length })).reduce(
    (best, next) => (next.words > best.words ? next : best),
  );
  return best.words > 0 ? best.name : "unknown";
}

/** @param {import("lockgate:plugin/request@0.1.0").Request} request */
function lastOfUser(request) {
  for (let index = request.messageCount() - 1; index >= 0; index--) {
    const message = request.message(index);
    if (!message) continue;
    const text = message.role().tag === "user" ? message.text(TEXT_BYTES) : undefined;
    // At once, not when the engine gets to it: an instance that holds something of its call is not used for the next.
    message[Symbol.dispose]();
    if (text !== undefined) return text;
  }
  return request.text(TEXT_BYTES);
}

export const route = {
  /** @param {import("lockgate:plugin/request@0.1.0").Request} request */
  route(request) {
    /** @type {Map<string, string>} */
    const settings = new Map(all());
    const language = languageOf(lastOfUser(request));
    const wished = (settings.get(language) ?? settings.get("other") ?? "").split(",").map((id) => id.trim());
    const places = localities();
    const isPermitted = permitted();
    // What is not named comes after what is, this machine first.
    const rank = (/** @type {string} */ id, /** @type {number} */ index) =>
      wished.includes(id) ? wished.indexOf(id) : places[index].tag === "local" ? 1000 : 2000;
    const usable = ids()
      .map((id, index) => ({ id, rank: rank(id, index), isPermitted: isPermitted[index] }))
      .filter((target) => target.isPermitted)
      .sort((one, other) => one.rank - other.rank);
    if (usable.length === 0) throw new Refusal("no target is permitted");
    const plan = new Plan();
    for (const target of usable.slice(0, ATTEMPTS_MAX)) plan.addAttempt(target.id);
    plan.setReason(`language: ${language}`);
    return plan;
  },
};
