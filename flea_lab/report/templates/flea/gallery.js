(() => {
  const form = document.querySelector("form");
  const cards = [...document.querySelectorAll(".card")];
  const place = document.querySelector(".cards");
  const shown = document.querySelector("output");
  const number = (card, name) => (card.dataset[name] ? Number(card.dataset[name]) : -Infinity);
  function choose() {
    const asked = new FormData(form);
    const words = asked.get("words").trim().toLowerCase();
    const orders = {
      when: (a, b) => Number(a.dataset.at) - Number(b.dataset.at),
      total: (a, b) => number(b, "total") - number(a, "total"),
      sharpe: (a, b) => number(b, "sharpe") - number(a, "sharpe"),
    };
    let count = 0;
    for (const card of cards) {
      const fits = (!words || card.dataset.words.includes(words))
        && (!asked.get("kind") || card.dataset.kind === asked.get("kind"))
        && (!asked.get("promoted") || card.dataset.promoted);
      card.hidden = !fits;
      count += fits ? 1 : 0;
    }
    cards.sort(orders[asked.get("order")]).forEach((card) => place.append(card));
    shown.textContent = `${count} of ${cards.length}`;
  }
  form.addEventListener("input", choose);
  form.addEventListener("submit", (event) => event.preventDefault());
  choose();
})();
