"""The look: colours, type and spacing, light and dark, on screen and on paper."""

from __future__ import annotations

LIGHT = {
    "paper": "#ffffff",
    "page": "#f6f7f8",
    "ink": "#17212b",
    "soft": "#52606d",
    "line": "#d5dbe1",
    "grid": "#e9edf0",
    "frame": "#9aa5b1",
    "target": "#e6f2ee",
    "target-ink": "#2b6a55",
    "shade": "#eef0f3",
    "warn": "#fdf3dc",
    "warn-ink": "#6b4700",
    "rule": "#6b7783",
    "missing": "#c9ced4",
    "s0": "#0a5fa0",
    "s1": "#b04a0f",
    "s2": "#00735a",
    "s3": "#8f3f76",
    "s4": "#7a5a00",
    "s5": "#4b5a68",
}
"""Colours on white; the series are the hues of Okabe and Ito, darkened until words in them have a contrast of 4.5 to 1."""

DARK = {
    "paper": "#151b22",
    "page": "#0e1318",
    "ink": "#e8edf2",
    "soft": "#a9b5c1",
    "line": "#303a45",
    "grid": "#232c35",
    "frame": "#6a7783",
    "target": "#16302a",
    "target-ink": "#7fcbb0",
    "shade": "#1d252e",
    "warn": "#3a2e12",
    "warn-ink": "#f2cf83",
    "rule": "#93a0ad",
    "missing": "#4a545f",
    "s0": "#6cb6f2",
    "s1": "#f29a63",
    "s2": "#4fcba4",
    "s3": "#e29ccb",
    "s4": "#e0b64a",
    "s5": "#aab6c2",
}
"""The same on dark paper."""

SERIES = 6

CIVIDIS = ("#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#e1cc55", "#fee838")
"""Ten entries of cividis, doi:10.1371/journal.pone.0199239: lightness rises evenly, also for the colour-blind."""


def _tokens(colours: dict[str, str]) -> str:
    return ";".join(f"--{name}:{value}" for name, value in colours.items())


FIGURE = """
.gemel-svg{font:12px system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif;font-variant-numeric:tabular-nums;
  --c:var(--s0)}
.gemel-svg text{fill:var(--soft)}
.gemel-svg .strong{fill:var(--ink);font-weight:600}
.gemel-svg .axis-title{fill:var(--ink)}
.gemel-svg .paper{fill:var(--paper)}
.gemel-svg .grid{stroke:var(--grid);fill:none}
.gemel-svg .frame{stroke:var(--frame);fill:none}
.gemel-svg .band{fill:var(--c);stroke:none}
.gemel-svg .wide{fill-opacity:.15}
.gemel-svg .narrow{fill-opacity:.3}
.gemel-svg .faint{fill-opacity:.11}
.gemel-svg .prior-fill{fill:var(--s5);fill-opacity:.16}
.gemel-svg .posterior-fill{fill:var(--c);fill-opacity:.24}
.gemel-svg .reference-fill{fill:var(--s5);fill-opacity:.17}
.gemel-svg .line{fill:none;stroke:var(--c);stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.gemel-svg .line.data{stroke:var(--ink);stroke-width:1.25}
.gemel-svg .line.past{stroke:var(--c);stroke-width:1;stroke-opacity:.5}
.gemel-svg .line.draw{stroke-width:.75;stroke-opacity:.35}
.gemel-svg .line.reference,.gemel-svg .line.ideal{stroke:var(--rule);stroke-width:1.25;stroke-dasharray:5 4}
.gemel-svg .line.prior{stroke:var(--s5);stroke-width:1.5;stroke-dasharray:5 3}
.gemel-svg .dots{stroke:var(--c);fill:none;stroke-linecap:round}
.gemel-svg .dots.data{stroke:var(--ink)}
.gemel-svg .dots.reference{stroke:var(--rule)}
.gemel-svg .marks{fill:var(--c);stroke:none}
.gemel-svg .marks.data{fill:var(--ink)}
.gemel-svg .marks.hollow{fill:var(--paper);stroke:var(--c);stroke-width:1.5}
.gemel-svg .marks.hollow.data{stroke:var(--ink)}
.gemel-svg .whisker{stroke:var(--ink);stroke-width:1.25;fill:none}
.gemel-svg .bar{fill:var(--c);fill-opacity:.82}
.gemel-svg .bar.low{fill:var(--s0)}
.gemel-svg .bar.high{fill:var(--s1)}
.gemel-svg .bar.prior,.gemel-svg .bar.reference{fill:var(--s5);fill-opacity:.35}
.gemel-svg .target{fill:var(--target)}
.gemel-svg .shade{fill:var(--shade)}
.gemel-svg .target-text{fill:var(--target-ink)}
.gemel-svg .rule{stroke:var(--rule);stroke-width:1;stroke-dasharray:4 3;fill:none}
.gemel-svg .rule.now{stroke:var(--ink);stroke-dasharray:none}
.gemel-svg .rule.limit{stroke:var(--ink);stroke-width:2;stroke-dasharray:none}
.gemel-svg .event{stroke:var(--rule);stroke-dasharray:1 3;fill:none}
.gemel-svg .glyph{fill:var(--ink)}
.gemel-svg .glyph.planned{fill:var(--paper);stroke:var(--ink)}
.gemel-svg .late{stroke:var(--ink);stroke-width:1;stroke-dasharray:2 2;fill:none}
.gemel-svg .fact{fill:var(--c)}
.gemel-svg .span{fill:var(--c);fill-opacity:.3;stroke:var(--c);stroke-width:1}
.gemel-svg .coloured{fill:var(--c)}
.gemel-svg .halo{paint-order:stroke;stroke:var(--paper);stroke-width:3.5px;stroke-linejoin:round}
.gemel-svg .banner{fill:var(--warn);stroke:var(--warn-ink);stroke-width:1}
.gemel-svg .banner-text{fill:var(--warn-ink);font-weight:600}
.gemel-svg .greyed .marks-area{opacity:.45}
.gemel-svg .missing{fill:var(--missing)}
.gemel-svg .cell{stroke:var(--paper);stroke-width:1}
.gemel-svg .on-dark{fill:#fff}
.gemel-svg .on-light{fill:#111}
.gemel-svg .share{stroke:var(--paper);stroke-width:1.5}
.gemel-svg .share.in{fill:var(--s2)}
.gemel-svg .share.d1{fill:var(--s5);fill-opacity:.45}
.gemel-svg .share.d2{fill:var(--s5);fill-opacity:.85}
.gemel-svg .cross{stroke:var(--ink);stroke-width:1;pointer-events:none;fill:none}
"""
"""Rules of a figure: everything below `.gemel-svg`."""

PAGE = """
.gemel{color-scheme:light dark;background:var(--page);color:var(--ink);font:16px/1.55 system-ui,-apple-system,'Segoe UI',Roboto,
  'Helvetica Neue',Arial,sans-serif;-webkit-text-size-adjust:100%}
.gemel *{box-sizing:border-box}
.gemel-page{margin:0}
.gemel .sheet{max-width:1000px;margin:0 auto;padding:40px 28px 64px}
.gemel h1{font-size:30px;line-height:1.2;letter-spacing:-.015em;font-weight:650;margin:6px 0 4px}
.gemel h2{font-size:19px;line-height:1.3;letter-spacing:-.005em;font-weight:620;margin:0 0 4px}
.gemel p{margin:0 0 .7em}
.gemel ul{margin:0 0 .7em;padding-left:1.2em}
.gemel .mark{font-size:12px;letter-spacing:.16em;text-transform:uppercase;color:var(--soft);font-weight:600}
.gemel .subtitle{color:var(--soft);margin:0 0 18px}
.gemel .research{border:1px solid var(--warn-ink);border-left-width:6px;background:var(--warn);color:var(--warn-ink);padding:9px 14px;
  border-radius:4px;font-size:14px;margin:0 0 28px}
.gemel section{background:var(--paper);border:1px solid var(--line);border-radius:10px;padding:22px 26px 16px;margin:0 0 22px}
.gemel section.words{background:none;border:0;padding:2px 2px 0;max-width:72ch}
.gemel section.note{border-left:5px solid var(--s0)}
.gemel section.warning,.gemel section.limit{border-left:5px solid var(--s1)}
.gemel .question{color:var(--soft);font-size:14px;margin:2px 0 0}
.gemel .head{display:flex;flex-wrap:wrap;gap:6px 10px;align-items:flex-start;justify-content:space-between;margin:0 0 12px}
.gemel .chips{display:flex;flex-wrap:wrap;gap:6px}
.gemel .chip{font-size:12px;line-height:1.35;padding:3px 9px;border:1px solid var(--frame);border-radius:99px;color:var(--ink);
  white-space:nowrap}
.gemel .chip.simulated,.gemel .chip.stale,.gemel .chip.drifting,.gemel .chip.abstained{background:var(--warn);color:var(--warn-ink);
  border-color:var(--warn-ink);font-weight:600}
.gemel figure{margin:0}
.gemel .plot{overflow-x:auto}
.gemel .plot svg{display:block;width:100%;min-width:620px;height:auto}
.gemel figcaption{font-size:14.5px;color:var(--ink);margin:2px 0 8px;max-width:86ch}
.gemel .read{font-size:13px;color:var(--ink);min-height:1.4em;font-variant-numeric:tabular-nums}
.gemel .small{font-size:12px;color:var(--soft);margin:6px 0 0;overflow-wrap:anywhere}
.gemel details{font-size:13.5px;margin:4px 0}
.gemel summary{cursor:pointer;color:var(--s0);padding:4px 0;min-height:24px}
.gemel summary:focus-visible,.gemel a:focus-visible{outline:2px solid var(--s0);outline-offset:2px}
.gemel .scroll{overflow:auto;max-height:420px}
.gemel .scroll.whole{max-height:none}
.gemel table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:13px}
.gemel caption{text-align:left;color:var(--soft);padding:4px 0}
.gemel th,.gemel td{padding:4px 14px 4px 0;border-bottom:1px solid var(--grid);text-align:right;white-space:nowrap}
.gemel th.t,.gemel td.t{white-space:normal;vertical-align:top;max-width:30em;overflow-wrap:break-word}
.gemel th{position:sticky;top:0;background:var(--paper);font-weight:600;vertical-align:bottom}
.gemel th span{color:var(--soft);font-weight:400}
.gemel .t{text-align:left}
.gemel a{color:var(--s0)}
.gemel .numbers{display:grid;grid-template-columns:repeat(auto-fit,minmax(200px,1fr));gap:14px;margin:0 0 22px}
.gemel .number{background:var(--paper);border:1px solid var(--line);border-radius:10px;padding:14px 18px}
.gemel .number .label{font-size:13px;color:var(--soft)}
.gemel .number .value{font-size:27px;line-height:1.25;font-weight:620;letter-spacing:-.01em}
.gemel .number .value span{font-size:15px;font-weight:400;color:var(--soft)}
.gemel .number .chip{white-space:normal;border-radius:12px}
.gemel .number .interval{font-size:13px;color:var(--ink)}
.gemel footer{color:var(--soft);font-size:12px;border-top:1px solid var(--line);padding-top:12px;margin-top:30px}
@media (max-width:640px){
  .gemel .sheet{padding:22px 14px}
  .gemel section{padding:16px}
}
@media (prefers-contrast:more){
  .gemel{--soft:var(--ink);--line:var(--ink);--rule:var(--ink)}
}
@page{size:A4;margin:14mm}
@media print{
  .gemel{background:none}
  .gemel .sheet{padding:0;max-width:none}
  .gemel section,.gemel .number{break-inside:avoid;border-color:#999}
  .gemel .plot svg{min-width:0}
  .gemel details:not([open]){display:none}
  .gemel .scroll{max-height:none;overflow:visible}
  .gemel .read{display:none}
  .gemel th{position:static}
  .gemel *{-webkit-print-color-adjust:exact;print-color-adjust:exact}
}
"""
"""Rules of a report: everything below `.gemel`, but the page's own margin."""


def svg_css() -> str:
    """Return the rules of a figure, on one line."""
    return _joined(FIGURE) + "".join(f".gemel-svg .s{i}{{--c:var(--s{i})}}" for i in range(SERIES))


def tokens(scope: str) -> str:
    """Return the colours of a scope: light, dark where the reader prefers it, light again on paper."""
    return (
        f"{scope}{{{_tokens(LIGHT)}}}@media (prefers-color-scheme:dark){{{scope}{{{_tokens(DARK)}}}}}"
        f"@media print{{{scope}{{{_tokens(LIGHT)}}}}}"
    )


def page_css() -> str:
    """Return the rules of a whole report, on one line."""
    return tokens(".gemel") + svg_css() + _joined(PAGE)


def _joined(rules: str) -> str:
    return "".join(line.strip() for line in rules.splitlines())
