/* Light or dark, before anything is drawn: so this is no module, which would run too late and flash. */
{
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);

  // Storage may be forbidden; then a choice lasts as long as the page.
  const stored = () => { try { return localStorage.getItem("hpo-theme"); } catch { return null; } };
  const store = (theme) => { try { localStorage.setItem("hpo-theme", theme); } catch { /* see above */ } };

  if (["light", "dark"].includes(stored())) root.dataset.theme = stored();

  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const show = () => button.setAttribute("aria-pressed", String(isDark()));
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      store(root.dataset.theme);
      show();
    });
    system.addEventListener("change", show);
    show();
  });
}
