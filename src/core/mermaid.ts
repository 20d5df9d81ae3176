/** Text in a Mermaid chart. It cannot end its quotes, its line or its chart: Mermaid has entity codes and no escapes. */
export function mermaidText(text: string): string {
  return text.slice(0, 200).replace(/[^\p{L}\p{N} .,:/@_-]/gu, (sign) => `#${sign.codePointAt(0)};`)
}
