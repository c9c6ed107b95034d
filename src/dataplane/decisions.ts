/** The table of decisions of docs/policy.md, from the stages. A test compares the two. */
import { stages } from './pipeline.ts';

export function decisionTable(): string {
  const rows = stages.map(
    ({ name, decides, reasons }, index) =>
      `| ${String(index + 1)} | ${name} | ${decides} | ${Object.keys(reasons)
        .map((reason) => `\`${reason}\``)
        .join(', ')} |`,
  );
  return `| # | stage | what it decides | reasons |\n|---|---|---|---|\n${rows.join('\n')}\n`;
}
