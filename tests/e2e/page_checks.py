"""What is asked of any page in a browser, in JavaScript: contrast, names, what sticks out."""

LOW_CONTRAST = """
(() => {
  const parse = text => (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const luminance = ([r, g, b]) => {
    const linear = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  };
  const ground = node => {
    for (; node; node = node.parentElement) {
      const colour = parse(getComputedStyle(node).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text; (text = walker.nextNode());) {
    const element = text.parentElement;
    if (!text.data.trim() || !element.checkVisibility() || element.closest('title')) continue;
    const style = getComputedStyle(element);
    const colour = parse(element.closest('svg') ? style.fill : style.color);
    const [high, low] = [luminance(colour), luminance(ground(element))].sort((a, b) => b - a);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < 4.5) found.push(`${ratio.toFixed(2)}: ${text.data.trim().slice(0, 40)}`);
  }
  return found;
})()
"""
"""Texts whose contrast to what is behind them is below 4.5."""

NAMELESS = """
(() => {
  const name = node => node.getAttribute('aria-label') || node.textContent.trim() ||
    (node.labels && [...node.labels].map(one => one.textContent.trim()).join(' ')) || '';
  const interactive = 'a[href], button, input:not([type=hidden]), summary, svg[role=img]';
  return [...document.querySelectorAll(interactive)]
    .filter(node => !name(node)).map(node => node.outerHTML.slice(0, 80));
})()
"""
"""Links, buttons, fields and pictures that a screen reader has no name for."""

STRUCTURE = """
(() => {
  const problems = [];
  const one = (what, wanted) => {
    const count = document.querySelectorAll(what).length;
    if (count !== wanted) problems.push(`${count} ${what}`);
  };
  one('main', 1); one('h1', 1); one('header', 1); one('nav[aria-label]', 1);
  if (!document.documentElement.lang) problems.push('no lang');
  if (!document.title) problems.push('no title');
  let level = 1;
  for (const heading of document.querySelectorAll('h1, h2, h3, h4')) {
    const now = Number(heading.tagName[1]);
    if (now > level + 1) problems.push(`h${level} to h${now}: ${heading.textContent}`);
    level = now;
  }
  const ids = [...document.querySelectorAll('[id]')].map(node => node.id);
  for (const id of new Set(ids))
    if (ids.filter(other => other === id).length > 1) problems.push(`two #${id}`);
  for (const node of document.querySelectorAll('[aria-labelledby]'))
    if (!document.getElementById(node.getAttribute('aria-labelledby')))
      problems.push(`labelled by nothing: ${node.tagName}`);
  for (const use of document.querySelectorAll('use'))
    if (!document.querySelector(use.getAttribute('href'))) problems.push('use of nothing');
  for (const table of document.querySelectorAll('table'))
    if (!table.caption || !table.querySelector('th[scope]')) problems.push('bare table');
  return problems;
})()
"""
"""Landmarks, headings, ids, tables: what is wrong with them."""

CAPTION_AT = """
((workload, lane, port) => {
  const article = [...document.querySelectorAll('article')]
    .find(one => one.querySelector('h3 bdi').textContent === workload);
  const strip = article.querySelector('svg.strip');
  strip.scrollIntoView({block: 'center'});
  const frame = strip.getBoundingClientRect();
  const x = frame.left + frame.width * Math.log(port + 0.5) / Math.log(65536);
  const rows = strip.querySelector(lane).getBoundingClientRect();
  const hit = document.elementFromPoint(x, (rows.top + rows.bottom) / 2);
  const titled = hit.closest('rect, a');
  return titled ? titled.querySelector('title').textContent : hit.outerHTML;
})
"""
"""The tooltip of what is drawn at a port, in a lane or row of marks of one workload's strip."""
