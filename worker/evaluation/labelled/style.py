"""How the page looks."""

STYLE = """
:root{--ink:#1b1f24;--soft:#5c6670;--line:#e3e6ea;--back:#f6f7f9;--card:#fff;--p:#2458d3;
--so:#2e9e5b;--bad:#d43d3d;--event:#3b6fe0;--open:#b9c0c8;--doubt:#f2c94c}
@media(prefers-color-scheme:dark){:root{--ink:#e7eaee;--soft:#9aa5b1;--line:#2c333b;--back:#14181d;
--card:#1b2026;--p:#7aa2ff;--so:#3fbf74;--bad:#ff6b6b;--event:#6c95ff;--open:#57616b}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
header,main{max-width:1140px;margin:0 auto;padding:0 20px}
header{padding-top:28px}
h1{font-size:27px;margin:0}
h2{font-size:19px;margin:0 0 4px}
h2 small{color:var(--soft);font-weight:400;font-size:13px}
h3{font-size:14px;margin:16px 0 4px;color:var(--soft)}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:18px 20px;
margin:18px 0}
p{margin:4px 0 10px}
.wide{overflow-x:auto}
table{border-collapse:collapse;background:var(--card);width:100%;font-size:14px;margin:8px 0}
th,td{text-align:left;padding:7px 10px;border-bottom:1px solid var(--line)}
td{font-variant-numeric:tabular-nums;white-space:nowrap}
th:first-child{min-width:132px}
tr:first-child th{color:var(--soft);font-weight:500;font-size:12.5px}
small{color:var(--soft)}
a{color:inherit}
.said ul{margin:6px 0 0;padding-left:18px}
.said.warn{border-left:4px solid var(--doubt)}
svg.line{width:100%;min-width:860px;height:auto;display:block;margin-bottom:4px}
svg.square{width:220px;height:auto}
svg text{font-size:11px;fill:var(--soft)}
svg text.enter{fill:var(--bad)}svg text.exit{fill:var(--so)}
.grid{stroke:var(--line)}
polyline.p{fill:none;stroke:var(--p);stroke-width:1.6;stroke-linejoin:round}
.dot{fill:var(--p)}.mute{fill:var(--soft)}
line.enter{stroke:var(--bad);stroke-dasharray:5 4}
line.exit{stroke:var(--so);stroke-dasharray:5 4}
rect.doubt{fill:var(--doubt);opacity:.16}
rect.so{fill:var(--so)}rect.missed{fill:var(--bad)}
rect.short{opacity:.45}
rect.open{fill:var(--open)}
rect.event{fill:var(--event)}rect.false{fill:var(--bad)}
rect.behind{opacity:.1}
rect.frame{fill:none;stroke:var(--line)}
line.ideal{stroke:var(--soft);stroke-dasharray:4 4}
.bin{fill:var(--p);opacity:.75}
.legend{color:var(--soft);font-size:13px}
.legend span{white-space:nowrap;margin-right:12px}
.key{display:inline-block;width:14px;height:10px;border-radius:2px;margin-right:5px}
.key.p{background:var(--p);height:3px;vertical-align:middle}.key.so{background:var(--so)}
.key.open{background:var(--open)}.key.event{background:var(--event)}
.key.false,.key.missed{background:var(--bad)}.key.doubt{background:var(--doubt);opacity:.45}
.aside{display:flex;gap:28px;flex-wrap:wrap;align-items:flex-start;margin-top:12px}
figure{margin:0;max-width:240px}
figcaption{color:var(--soft);font-size:13px}
.suggestion{flex:1;min-width:300px}
.suggestion h3{margin-top:0}
pre{background:var(--back);border:1px solid var(--line);border-radius:8px;padding:12px;
overflow-x:auto;margin:6px 0;font-size:13px}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(236px,1fr));gap:14px}
.cards figure{max-width:none}
.cards img{width:100%;border-radius:8px;display:block;border:1px solid var(--line)}
.cards b{color:var(--ink)}
footer{color:var(--soft);font-size:13px;margin:22px 0 40px}
footer code{overflow-wrap:anywhere}
"""
