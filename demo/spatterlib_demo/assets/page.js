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
  addEventListener('DOMContentLoaded', () => { mend(); new MutationObserver(soon).observe(document.body, {childList: true, subtree: true}); });
})();
