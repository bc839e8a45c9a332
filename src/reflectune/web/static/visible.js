// Writes out what cannot be seen, as page/text.py does: marks that turn a text around or hide a part of it.
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\p{Noncharacter_Code_Point}]/gu;

/** A text in which characters that cannot be seen stand as their numbers, such as [U+202E]. */
export function visible(text) {
  return text.replaceAll("\r\n", "\n").replace(UNSEEN, (mark) => `[U+${mark.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}]`);
}
