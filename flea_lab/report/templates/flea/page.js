(function () {
  "use strict";
  var narrow = window.matchMedia("(max-width: 600px)");
  function colour(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }
  function dressed(layout, printed) {
    var small = narrow.matches;
    layout.font = Object.assign({}, layout.font, { color: printed ? "#000" : colour("--flea-ink"), size: small ? 12 : 13 });
    layout.hoverlabel = Object.assign({}, layout.hoverlabel, {
      bgcolor: colour("--flea-panel"), bordercolor: colour("--flea-line"),
      font: Object.assign({}, (layout.hoverlabel || {}).font, { color: colour("--flea-ink") })
    });
    layout.modebar = {
      bgcolor: "rgba(0,0,0,0)", color: colour("--flea-soft"), activecolor: colour("--flea-ink"), remove: ["sendChartToCloud"]
    };
    delete layout.width;
    layout.autosize = !printed;
    if (printed) { layout.width = 690; }
    if (small) { layout.dragmode = false; }
    return layout;
  }
  function draw(place) {
    var figure = JSON.parse(document.getElementById(place.id + "-data").textContent);
    var config = {
      responsive: true, displaylogo: false, displayModeBar: narrow.matches ? false : "hover",
      plotlyServerURL: "", modeBarButtonsToRemove: ["sendChartToCloud"]
    };
    Plotly.newPlot(place, figure.data, dressed(figure.layout), config);
  }
  function redress(printed) {
    document.querySelectorAll(".page-figure").forEach(function (place) {
      if (place.layout) { Plotly.relayout(place, dressed(place.layout, printed)); }
    });
  }
  document.querySelectorAll(".page-figure").forEach(draw);
  window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", function () { redress(false); });
  // paper is light whatever the screen is, and as wide as paper is
  window.addEventListener("beforeprint", function () { redress(true); });
  window.addEventListener("afterprint", function () { redress(false); });
  var button = document.querySelector(".page-toggle");
  button.addEventListener("click", function () {
    var shown = document.body.classList.toggle("with-code");
    button.setAttribute("aria-expanded", shown);
    button.textContent = shown ? "Hide code" : "Show code";
  });
})();
