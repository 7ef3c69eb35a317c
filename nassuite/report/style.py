"""The page's style sheet and script: no file beside the page, no network."""

from __future__ import annotations

from collections.abc import Mapping

from nassuite.report.architecture import FAMILIES, OTHER
from nassuite.report.chart import Style
from nassuite.report.front import STYLES
from nassuite.report.paints import COLOURS, ENLARGED, style_rules


def palette(styles: Mapping[str, Style]) -> dict[str, tuple[str, str]]:
    """The colours, on light paper and on dark, of operators and of kinds of marks, those in ``styles`` included."""
    families = {f"op-{op}": (light, dark) for op, (_, light, dark) in FAMILIES.items()}
    kinds = {f"k-{kind}": (style.light, style.dark) for kind, style in {**STYLES, **styles}.items()}
    return {"op": OTHER[1:], **families, **kinds}


def style_sheet(styles: Mapping[str, Style]) -> str:
    """CSS for light and dark screens, phones and paper, with the palettes of architectures and of marks in ``styles``."""
    light, dark = (
        f":root{{{''.join(f'--{name}:{pair[column]};' for name, pair in COLOURS.items())}color-scheme:{scheme}}}"
        + "".join(f".{name}{{--c:{pair[column]}}}" for name, pair in palette(styles).items())
        for column, scheme in enumerate(("light", "dark"))
    )
    # Paper is white whatever the screen's theme.
    enlarged = f"@media (max-width:960px){{.pareto .chart.wide{{font-size:{ENLARGED:g}px}}}}"
    return f"{light}{style_rules()}{_CSS}{enlarged}@media screen and (prefers-color-scheme:dark){{{dark}}}"


_CSS = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);
font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;
font-variant-numeric:tabular-nums}
main{max-width:1064px;margin:0 auto;padding:36px 32px 64px}
h1{font-size:27px;line-height:1.2;font-weight:650;letter-spacing:-.015em;margin:2px 0 6px;overflow-wrap:anywhere}
h2{font-size:18px;line-height:1.3;font-weight:650;letter-spacing:-.005em;margin:44px 0 6px;padding-top:14px;
border-top:1px solid var(--rule)}
h3{font-size:14px;font-weight:650;margin:22px 0 6px}
h4{font-size:13px;font-weight:600;margin:10px 0 4px}
p{margin:6px 0;max-width:74ch}
.run,.lede,.remark,figcaption{color:var(--muted)}
.run{font-size:13px;margin:0;overflow-wrap:anywhere}
.remark,figcaption{font-size:13px}
code,pre,.arch{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:12.5px}
code{overflow-wrap:anywhere}
.option{white-space:nowrap}
pre{background:var(--panel);border:1px solid var(--rule);border-radius:5px;padding:11px 14px;margin:8px 0;
overflow-x:auto;line-height:1.5}
pre.command{white-space:pre-wrap;overflow-wrap:anywhere}
.misses{border-left:3px solid var(--bad);padding:2px 0 2px 14px;margin:18px 0}
.misses h2{border:0;margin:0;padding:0;font-size:14px;color:var(--bad)}
.misses ul,.notes{margin:4px 0;padding-left:18px}
.misses li,.notes li{margin:3px 0;max-width:90ch;overflow-wrap:anywhere}
.answers{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,400px),1fr));gap:16px;margin:18px 0}
.answer{border:1px solid var(--rule);border-radius:7px;padding:14px 18px 12px}
.answer h3{margin:0;font-size:15px}
.answer .path{margin:2px 0 12px;font-size:13px;color:var(--muted)}
.answer dl{display:grid;grid-template-columns:repeat(3,minmax(0,1fr));gap:0 16px;margin:0}
.answer dt{font-size:12.5px;color:var(--muted)}
.answer dd{margin:0}
.answer .value{font-size:23px;line-height:1.25;font-weight:600;letter-spacing:-.02em;white-space:nowrap}
.answer small{display:block;font-size:12px;line-height:1.4;color:var(--muted)}
.verdict{font-weight:600;font-size:13px;margin:10px 0 0}
.met{color:var(--good)}
.missed{color:var(--bad)}
figure{margin:12px 0}
.pick+figcaption{margin-top:8px}
.arch{max-width:none}
.pair{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:8px 40px}
.pair>section{min-width:0}
.variant-sets{max-width:760px}
.chart{display:block;width:100%;height:auto;font-size:12px;overflow:visible}
.mark{outline:none}
.mark.on,.mark:focus-visible{stroke:var(--ink);stroke-width:2.5;stroke-opacity:1;fill-opacity:1}
.narrow{display:none}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:3px 24px;margin:8px 0;padding:0;font-size:13px}
.pareto .legend{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,340px),1fr))}
.legend li{display:flex;align-items:center;gap:7px;line-height:1.35}
.legend svg{width:16px;height:16px;flex:none;overflow:visible}
.legend i{width:12px;height:12px;border-radius:2px;background:var(--c);flex:none}
.pick{display:block;background:var(--panel);border-radius:5px;padding:8px 12px;min-height:61px;font-size:13px;
overflow-wrap:anywhere}
.scroll{overflow-x:auto;margin:10px 0}
table{border-collapse:collapse;font-size:13.5px;line-height:1.4}
th,td{text-align:right;padding:5px 0 5px 22px;border-bottom:1px solid var(--rule);white-space:nowrap;vertical-align:top}
th:first-child,td:first-child{text-align:left;padding-left:0}
th{font-weight:600}
thead th{vertical-align:bottom;border-bottom-color:var(--muted)}
tbody th{font-weight:400;color:var(--muted)}
th.words,td.words{text-align:left}
.baselines .words{white-space:normal;min-width:170px}
.front .words{white-space:normal;min-width:300px}
.front td.words,.finalists td.words{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;font-size:12px}
.variants,.finalists,.baselines,.ranking{width:100%}
.variants tbody th{white-space:normal}
.variants .chosen{background:var(--panel);font-weight:600}
.variants th,.variants td{padding:5px 8px}
.variants th:first-child{padding-left:0}
.costs{font-size:13px}
details{margin:12px 0}
summary{cursor:pointer;font-size:13.5px;color:var(--muted)}
.facts{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:0 40px}
.facts dl{display:grid;grid-template-columns:minmax(100px,auto) minmax(0,1fr);gap:2px 18px;margin:0;font-size:13px;
align-content:start}
.facts dt{color:var(--muted);overflow-wrap:anywhere}
.facts dd{margin:0;overflow-wrap:anywhere}
footer{margin-top:44px;padding-top:12px;border-top:1px solid var(--rule);font-size:12.5px;color:var(--muted)}
.architecture.wide{max-width:760px}
@media (max-width:680px){
main{padding:22px 16px 48px}
h1{font-size:23px}
h2{margin-top:34px}
.wide{display:none}.narrow{display:block}
.pair,.facts{grid-template-columns:minmax(0,1fr)}
.answer{padding:12px 14px}
.answer dl{grid-template-columns:1fr 1fr;gap:10px 14px}
.answer .value{font-size:21px}
.pick{min-height:100px}
th,td{padding-left:14px}
.variants{font-size:12.5px}
.variants th,.variants td{padding:5px 5px}
.variants th:first-child{padding-left:0}
}
@media print{
body{font-size:10.5pt}
main{max-width:none;padding:0}
h2{margin-top:22px}h2,h3{break-after:avoid}
figure,.answer,tr,.misses,.variants,.traits{break-inside:avoid}
.pick,details{display:none}
pre{white-space:pre-wrap}
.scroll{overflow:visible}table{font-size:8.5pt}th,td{padding-left:8px}th,td.words{white-space:normal}p{break-inside:avoid}
.face,.band,.variants .chosen,.legend i{print-color-adjust:exact;-webkit-print-color-adjust:exact}
}
"""

# Shows the details of the mark nearest to the pointer, since small marks are hard to hit by finger.
SCRIPT = """
for (const figure of document.querySelectorAll(".pareto")) {
  const output = figure.querySelector("output");
  let picked = null;
  const pick = mark => {
    if (mark === picked) return;
    if (picked) picked.classList.remove("on");
    picked = mark;
    mark.classList.add("on");
    output.textContent = mark.firstElementChild.textContent;
  };
  for (const svg of figure.querySelectorAll("svg.chart")) {
    const marks = [...svg.querySelectorAll(".mark")].map(mark => {
      const place = mark.transform.baseVal.getItem(0).matrix;
      return { mark, x: place.e, y: place.f };
    });
    const nearest = event => {
      const frame = svg.getBoundingClientRect();
      const scale = svg.viewBox.baseVal.width / frame.width;
      const x = (event.clientX - frame.left) * scale, y = (event.clientY - frame.top) * scale;
      let best = null, reach = 20 * Math.max(1, scale);
      for (const one of marks) {
        const distance = Math.hypot(one.x - x, one.y - y);
        if (distance <= reach) { best = one.mark; reach = distance; }
      }
      if (best) pick(best);
    };
    svg.addEventListener("pointermove", nearest);
    svg.addEventListener("pointerdown", nearest);
    svg.addEventListener("focusin", event => { if (event.target.matches(".mark")) pick(event.target); });
  }
  output.hidden = false;
}
"""
