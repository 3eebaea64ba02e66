"""The small script of a report: a cross-hair and the nearest row of the table. The figures need none of it."""

READ_OUT = """
(()=>{'use strict';
const SVG='http://www.w3.org/2000/svg';
for(const figure of document.querySelectorAll('.gemel figure')){
  const svg=figure.querySelector('svg'),out=figure.querySelector('.read'),rows=[...figure.querySelectorAll('tr[data-x]')];
  if(!svg||!out||!rows.length)continue;
  const xs=rows.map(r=>Number(r.dataset.x)),heads=[...figure.querySelectorAll('thead th')].map(h=>h.textContent.trim());
  const panels=[...svg.querySelectorAll('g.panel[data-left]')];
  if(!panels.length)continue;
  const cross=document.createElementNS(SVG,'path');cross.setAttribute('class','cross');svg.append(cross);
  let at=-1;
  const show=i=>{
    at=Math.max(0,Math.min(rows.length-1,i));let d='';
    for(const p of panels){
      const q=p.dataset,low=Number(q.xLow),high=Number(q.xHigh),l=Number(q.left),r=Number(q.right);
      if(q.kind==='log'||xs[at]<low||xs[at]>high)continue;
      if(q.kind!==panels[0].dataset.kind)continue;
      d+=`M${l+(xs[at]-low)/(high-low)*(r-l)},${q.top}V${q.bottom}`;
    }
    cross.setAttribute('d',d);
    const cells=[...rows[at].cells].map(c=>c.textContent);
    out.textContent=cells.map((c,i)=>c?`${heads[i]} ${c}`:'').filter(Boolean).join('   ');
  };
  const hide=()=>{cross.setAttribute('d','');out.textContent='';at=-1;};
  svg.addEventListener('pointermove',e=>{
    const box=svg.getBoundingClientRect(),x=(e.clientX-box.left)*svg.viewBox.baseVal.width/box.width,q=panels[0].dataset;
    const v=Number(q.xLow)+(x-Number(q.left))/(Number(q.right)-Number(q.left))*(Number(q.xHigh)-Number(q.xLow));
    let best=0;for(let i=1;i<xs.length;i++)if(Math.abs(xs[i]-v)<Math.abs(xs[best]-v))best=i;
    show(best);
  });
  svg.addEventListener('pointerleave',hide);
  svg.setAttribute('tabindex','0');
  svg.addEventListener('keydown',e=>{
    if(e.key==='ArrowRight'){show(at+1);e.preventDefault();}
    if(e.key==='ArrowLeft'){show(at<0?rows.length-1:at-1);e.preventDefault();}
    if(e.key==='Escape')hide();
  });
}})();
"""
