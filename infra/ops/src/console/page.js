"use strict";
// Writes times in this browser's zone, and keeps what is live up to date.

const two = (number) => String(number).padStart(2, "0");

function localise(root) {
  for (const time of root.querySelectorAll("time")) {
    const at = new Date(time.dateTime);
    const date = [at.getFullYear(), two(at.getMonth() + 1), two(at.getDate())].join("-");
    const clock = [at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join(":");
    const utc = [at.getUTCHours(), at.getUTCMinutes(), at.getUTCSeconds()].map(two).join(":") + "Z";
    const isUtc = at.getTimezoneOffset() === 0;
    time.querySelector(".date").textContent = date;
    time.querySelector(".here").textContent = isUtc ? utc : clock;
    time.querySelector(".utc").textContent = isUtc ? "" : ` (${utc})`;
  }
}

const live = document.querySelector("[data-every]");
const pause = document.getElementById("pause");
const said = document.getElementById("said");

function say(text) {
  if (said.textContent !== text) said.textContent = text;
}

// Replaces what is live, unless somebody reads it with the mouse or works in it.
function replace(text) {
  const page = new DOMParser().parseFromString(text, "text/html");
  const fresh = page.querySelector("[data-every]");
  const isInUse = live.contains(document.activeElement) || !getSelection().isCollapsed;
  if (!fresh || isInUse) return;
  localise(page);
  live.replaceChildren(...fresh.childNodes);
  document.getElementById("read-at").replaceWith(page.getElementById("read-at"));
  const news = live.querySelector("[data-news]");
  if (news) say(news.dataset.news);
}

async function refresh() {
  if (document.hidden || pause.checked) return;
  try {
    const answer = await fetch(location.href, { cache: "no-store" });
    if (!answer.ok) throw new Error(answer.statusText);
    document.body.classList.remove("stale");
    replace(await answer.text());
  } catch {
    document.body.classList.add("stale");
    say("What you see is old, because it can't be read again. Reload the page to learn why.");
  }
}

localise(document);
if (live) {
  pause.closest("label").hidden = false;
  setInterval(refresh, live.dataset.every * 1000);
}
