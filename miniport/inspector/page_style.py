"""
How the page looks: one sheet, for light and for dark, for a screen and for paper.

Next: `miniport/inspector/page_figures.py`, the drawings.
"""

STYLE = """
:root { color-scheme: light dark; --bg: #f6f7f9; --card: #fff; --ink: #1b2330; --dim: #667085; --line: #e2e6ec; --soft: #eef1f5;
  --good: #1a7f4b; --warn: #b54708; --bad: #c01f36; --note: #3a6ea5; --blue: #2f6fde; --teal: #0e9384; --grey: #98a2b3;
  --amber: #dc8a1a; --free: #d5e3d8;
  --mono: ui-monospace, "SF Mono", "DejaVu Sans Mono", Menlo, Consolas, monospace; }
@media (prefers-color-scheme: dark) { :root { --bg: #0f141b; --card: #171e28; --ink: #e6eaf0; --dim: #93a0b4; --line: #2a3442;
  --soft: #1f2833; --good: #4cc38a; --warn: #f0a24a; --bad: #ff6b7d; --note: #7fb2ea; --blue: #6aa0ff; --teal: #3fc9b8; --grey: #6b7789;
  --amber: #f0b357; --free: #2c4036; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--bg); color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 28px 20px 60px; }
header { display: flex; flex-wrap: wrap; align-items: baseline; gap: 6px 16px; margin-bottom: 20px; }
h1 { font-size: 28px; margin: 0; letter-spacing: -0.01em; }
h2 { font-size: 17px; margin: 0 0 14px; }
h2 .dim { font-weight: 400; font-size: 14px; margin-left: 6px; }
h3 { font-size: 14px; margin: 18px 0 8px; color: var(--dim); font-weight: 600; }
header p { margin: 0; color: var(--dim); }
.pill { border-radius: 99px; padding: 2px 12px; font-weight: 600; font-size: 13px; border: 1px solid currentColor; align-self: center; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 20px 22px; margin-bottom: 18px; }
.error { color: var(--bad); } .warning { color: var(--warn); } .note { color: var(--note); } .good { color: var(--good); }
  .dim { color: var(--dim); }
.alert { display: grid; grid-template-columns: 5px 1fr; gap: 2px 14px; padding: 9px 0; border-top: 1px solid var(--line); }
.alert:first-of-type { border-top: 0; }
.alert i { grid-row: 1 / 3; border-radius: 3px; background: currentColor; }
.alert b { color: var(--ink); font-weight: 600; overflow-wrap: anywhere; }
code, .mono, pre { font: 13px/1.45 var(--mono); }
code { background: var(--soft); border-radius: 5px; padding: 1px 7px; color: var(--ink); overflow-wrap: anywhere; width: fit-content; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin-bottom: 18px; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 12px 16px; }
.tile b { display: block; font-size: 23px; font-variant-numeric: tabular-nums; letter-spacing: -0.02em; }
.tile span { color: var(--dim); font-size: 13px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 600; color: var(--dim); font-size: 12.5px; padding: 4px 14px 6px 0;
  border-bottom: 1px solid var(--line); white-space: nowrap; }
td { padding: 6px 14px 6px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
tr:last-child td { border-bottom: 0; }
td.n, th.n { text-align: right; }
td.where { font: 13px/1.5 var(--mono); overflow-wrap: anywhere; min-width: 14em; }
svg { display: block; max-width: 100%; height: auto; }
svg text { font: 13px system-ui, "DejaVu Sans", sans-serif; fill: var(--ink); } svg .dim { fill: var(--dim); }
  svg .strong { font-weight: 600; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; margin-top: 8px; color: var(--dim); font-size: 13px; }
.legend i { display: inline-block; width: 10px; height: 10px; border-radius: 3px; margin-right: 6px; }
details { border-top: 1px solid var(--line); padding: 10px 0; }
details:first-of-type { border-top: 0; }
summary { cursor: pointer; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(420px, 1fr)); gap: 3px 28px; margin: 10px 0 4px; }
dl div { display: grid; grid-template-columns: 6.5em 1fr; gap: 12px; } dt { color: var(--dim); } dd { margin: 0;
  font: 13px/1.5 var(--mono); overflow-wrap: anywhere; }
pre { margin: 8px 0 0; padding: 10px 12px; background: var(--soft); border-radius: 8px; overflow-x: auto; }
footer { color: var(--dim); font-size: 13px; }
@media print { body { background: #fff; } section, .tile { break-inside: avoid; } }
"""
