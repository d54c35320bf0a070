"""How the report's page looks: light and dark as the reader has it, from a phone's width up, and on paper."""

STYLE = """
:root { color-scheme: light dark; --ground: #f6f7f9; --sheet: #ffffff; --ink: #16202c; --quiet: #5b6877; --edge: #dfe4ea;
  --now: #2563c9; --hosted: #c2660c; --own: #0b8a6f; --good: #0a7a3f; --bad: #b3261e; --track: #eef1f5; --code: #f0f3f7; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #0f151c; --sheet: #18212b; --ink: #e8edf3; --quiet: #9aa8b8; --edge: #2b3744;
    --now: #6ea8ff; --hosted: #f0a35e; --own: #4ccfae; --good: #5fd897; --bad: #ff8a80; --track: #222d39; --code: #111922; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; font-variant-numeric: tabular-nums; }
main { max-width: 64rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .5rem; }
p { margin: .25rem 0; overflow-wrap: anywhere; }
.quiet { color: var(--quiet); } .small { font-size: .85rem; }
.big { font-size: 1.35rem; font-weight: 650; line-height: 1.25; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(10.5rem, 1fr)); gap: .75rem; margin-top: 1.25rem; }
.card, .item { background: var(--sheet); border: 1px solid var(--edge); border-radius: .6rem; padding: .8rem 1rem; }
.card.good .big { color: var(--good); }
.item { margin: .6rem 0; }
ol.plain { list-style: none; margin: 0; padding: 0; }
.line { display: flex; flex-wrap: wrap; gap: .3rem .6rem; align-items: baseline; }
.line > * { overflow-wrap: anywhere; }
.line .big { color: var(--good); }
.chip { font-size: .8rem; padding: .05rem .5rem; border: 1px solid var(--edge); border-radius: 1rem; color: var(--quiet); }
.chip.bad { color: var(--bad); border-color: var(--bad); }
.bars { display: grid; grid-template-columns: 4.6rem minmax(4rem, 1fr) 5.2rem; gap: .3rem .75rem; align-items: center;
  margin: .5rem 0; }
.way { font-size: .85rem; color: var(--quiet); } .usd { text-align: right; }
svg { display: block; overflow: visible; }
.track { fill: var(--track); } .bar.now { fill: var(--now); } .bar.hosted { fill: var(--hosted); } .bar.own { fill: var(--own); }
.bar.saving { fill: var(--good); } .budget { stroke: var(--ink); stroke-width: 2; }
.item > svg { margin: .45rem 0 .5rem; }
details { margin: .6rem 0; } summary { cursor: pointer; color: var(--quiet); }
pre { margin: .5rem 0 0; padding: .5rem .75rem; background: var(--code); border-radius: .4rem; font-size: .85rem; white-space: pre-wrap;
  overflow-wrap: anywhere; }
.facts { display: flex; flex-wrap: wrap; gap: .3rem 1.5rem; margin: .5rem 0 0; }
.facts dt { font-size: .78rem; color: var(--quiet); } .facts dd { margin: 0; }
.decision { display: grid; grid-template-columns: 9.5rem 1fr; gap: .2rem 1rem; }
section > ul { padding-left: 1.2rem; } section > ul li { overflow-wrap: anywhere; }
footer { margin-top: 2.5rem; }
@media (max-width: 34rem) { .decision { grid-template-columns: 1fr; } main { padding: 1rem .75rem 2rem; } }
@media print { body { background: none; } .item, .card { break-inside: avoid; } }
"""
