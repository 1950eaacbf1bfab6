// Asks for the page again and puts its board in the place of this one. Tables that were opened stay
// open; while someone points at a mark or selects text, and while nobody looks, nothing changes.
const seconds = Number(document.currentScript.dataset.seconds);
const open = (board) => [...board.querySelectorAll("details")].map((one) => one.open);
async function refresh() {
  const board = document.getElementById("board");
  const live = document.getElementById("live");
  if (!board || document.hidden || String(getSelection()) || board.querySelector("path:hover")) return;
  try {
    const answer = await fetch(location.href, { cache: "no-store" });
    if (!answer.ok) throw new Error(answer.status);
    const next = new DOMParser().parseFromString(await answer.text(), "text/html");
    const opened = open(board);
    next.querySelectorAll("#board details").forEach((one, at) => { one.open = opened[at] ?? false; });
    live.textContent = next.getElementById("live").textContent;
    board.replaceWith(document.adoptNode(next.getElementById("board")));
  } catch {
    live.textContent = live.textContent.split(", ")[0] + ", the local cloud does not answer";
  }
}
setInterval(refresh, 1000 * seconds);
