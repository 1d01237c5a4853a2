// Gradio leaves some controls without a name for screen readers; this names them as they appear.
(() => {
  const name = (node, text) => { if (text && !node.getAttribute('aria-label') && !node.labels?.length) node.setAttribute('aria-label', text.trim()); };
  const mend = () => {
    document.documentElement.lang ||= 'en';
    for (const input of document.querySelectorAll('input:not([type=hidden]), textarea')) {
      const block = input.closest('.block');
      name(input, block?.querySelector('[data-testid="block-info"], [data-testid="block-label"], label span')?.textContent);
    }
    for (const button of document.querySelectorAll('button:not([aria-label])'))
      if (!button.textContent.trim()) name(button, button.closest('.block')?.querySelector('label, [data-testid="block-label"]')?.textContent || 'choose a file');
  };
  // Something moves at once, before the server has answered.
  document.addEventListener('click', event => {
    if (!event.target.closest('.starts')) return;
    const place = document.getElementById('headline');
    place?.classList.add('busy');
    const over = new MutationObserver(() => { place.classList.remove('busy'); over.disconnect(); });
    if (place) over.observe(place, {childList: true, subtree: true, characterData: true});
  });
  let waiting = false;
  const soon = () => { if (!waiting) { waiting = true; setTimeout(() => { waiting = false; mend(); }, 150); } };
  const ready = act => { if (document.body) act(); else addEventListener('DOMContentLoaded', act); };
  ready(() => { mend(); new MutationObserver(soon).observe(document.body, {childList: true, subtree: true}); });

  // Whether the server still answers: a page without one says so, and what it shows is marked as old. Another server
  // knows nothing of this page, but has the project: the page is opened anew.
  let boot = null, missed = 0;
  const gone = () => {
    if (document.getElementById('gone')) return;
    const bar = document.createElement('div');
    bar.id = 'gone'; bar.setAttribute('role', 'alert');
    bar.textContent = 'The server does not answer. What you see is from before and stays as it is; nothing new is computed. '
      + 'This page goes on by itself when the server is back.';
    document.body.prepend(bar); document.body.classList.add('stale');
  };
  const ask = async () => {
    try {
      const answer = await fetch(new URL('alive', document.baseURI), {cache: 'no-store', signal: AbortSignal.timeout(8000)});
      if (!answer.ok) throw new Error(answer.status);
      const now = await answer.text();
      if (boot !== null && now !== boot) return location.reload();
      boot = now; missed = 0;
      document.getElementById('gone')?.remove(); document.body.classList.remove('stale');
    } catch { if (++missed >= 2) gone(); }
    setTimeout(ask, missed ? 1000 : 4000);
  };
  ready(ask);
})();
