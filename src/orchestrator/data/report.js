// The orders table of the report: filter by words, sort by a column, show a screenful more when scrolled.
(function () {
  "use strict";
  var holder = document.getElementById("orders-data"), table = document.getElementById("orders-table");
  if (!holder || !table) return;
  var found = JSON.parse(holder.textContent), numbers = found.numbers, rows = found.rows;
  var body = table.tBodies[0], heads = table.tHead.rows[0].cells, box = table.parentElement;
  var filter = document.getElementById("orders-filter"), count = document.getElementById("orders-count");
  var SCREENFUL = 200, SIDE = 5, shown = [], drawn = 0, by = -1, down = false;
  var text = rows.map(function (r) { return r.join(" ").toLowerCase(); });
  function value(cell, number) {
    if (!number) return String(cell);
    var v = parseFloat(String(cell).replace(/,/g, "").replace("−", "-"));
    return isNaN(v) ? -Infinity : v;
  }
  function more() {
    var part = document.createDocumentFragment();
    for (var end = Math.min(shown.length, drawn + SCREENFUL); drawn < end; drawn++) {
      var tr = document.createElement("tr");
      rows[shown[drawn]].forEach(function (cell, i) {
        var td = document.createElement("td");
        td.textContent = cell;
        if (numbers.indexOf(i) >= 0) td.className = "n";
        if (i === SIDE) td.className = cell;
        tr.appendChild(td);
      });
      part.appendChild(tr);
    }
    body.appendChild(part);
  }
  function draw() {
    var words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    shown = [];
    for (var i = 0; i < rows.length; i++) {
      if (words.every(function (w) { return text[i].indexOf(w) >= 0; })) shown.push(i);
    }
    if (by >= 0) {
      var number = numbers.indexOf(by) >= 0;
      shown.sort(function (a, b) {
        var x = value(rows[a][by], number), y = value(rows[b][by], number);
        return (x < y ? -1 : x > y ? 1 : a - b) * (down ? -1 : 1);
      });
    }
    count.textContent = shown.length.toLocaleString("en") + " of " + rows.length.toLocaleString("en") + " shown";
    body.textContent = "";
    drawn = 0;
    box.scrollTop = 0;
    more();
  }
  Array.prototype.forEach.call(heads, function (head, i) {
    head.tabIndex = 0;
    head.setAttribute("role", "button");
    function sort() {
      down = by === i && !down;
      by = i;
      Array.prototype.forEach.call(heads, function (h) { h.removeAttribute("aria-sort"); });
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      draw();
    }
    head.addEventListener("click", sort);
    head.addEventListener("keydown", function (e) { if (e.key === "Enter" || e.key === " ") { e.preventDefault(); sort(); } });
  });
  box.addEventListener("scroll", function () { if (box.scrollTop + box.clientHeight > box.scrollHeight - 400) more(); });
  filter.addEventListener("input", draw);
  draw();
})();
