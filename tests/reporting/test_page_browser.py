"""The page in a real browser: what a reader sees, clicks and types."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

import synthetic
from reader import Reader, needs_chromium
from slimming import ledger, records
from slimming.reporting import page, style

pytestmark = [needs_chromium, pytest.mark.tools]

ID = "digits/vgg19/tl1-1/seed2/finetuned-0.4"
CLAIMS = """claim,level,dataset,network,stage,ratio,estimate,low,high,unit,verdict,reason
a,overall,,,,,,,,,partly,Only on one network.
a,panel,digits,vgg19,,,,,,,reproduced,Above the margin.
a,panel,digits,resnet20,,,,,,,inconclusive,Too wide.
a,ratio,digits,vgg19,pruned,0.4,2.3456,1,4,points,,
b,overall,,,,,,,,,not attempted,No such method & no <b>evidence</b>.
c,panel,digits,vgg19,,,,,,,unheard of,
"""
RULES = """claims:
- id: a
  words: Penalties help & <b>hurt</b>
  source: Somebody (2021)
  reading: They are more accurate.
  treatments: [tl1-*]
  reference: l1
  compare: {metric: accuracy, stage: pruned, direction: higher, margin: 1}
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with a ledger, its records, claims.csv and report.html."""
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("page")
        patch.chdir(root)  # the ledger's paths are relative to here
        directory = synthetic.small_study(root)
        (directory / "claims.csv").write_text(CLAIMS)
        (root / "claims.yaml").write_text(RULES)
        page.write(directory, directory / "report.html", root / "claims.yaml")
    return directory


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    reader = Reader(tmp_path_factory.mktemp("profile"))
    yield reader
    reader.driver.quit()


@pytest.fixture
def reader(browser: Reader, written: Path) -> Iterator[Reader]:
    """A reader with the page open; whatever the test does, the browser must have had nothing to complain of."""
    browser.open(written / "report.html")
    yield browser
    assert browser.driver.get_log("browser") == []


def test_seeds_are_shown_with_all_digits_and_sorted_as_numbers(browser, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seeds = (2, 10, 2**63 - 2, 2**63 - 1)
    paths = synthetic.write(tmp_path, networks=("vgg19",), methods=("none",), seeds=seeds, ratios=(), finetuned=())
    ledger.write("synthetic", paths, tmp_path / "ledger")
    page.write(tmp_path / "ledger", tmp_path / "report.html")
    browser.open(tmp_path / "report.html")
    place = browser.texts("#measurements thead th").index("Seed") + 1
    for order in (seeds, seeds[::-1]):
        browser.click(f"#measurements thead th:nth-child({place})")
        assert browser.texts(f"#measurements tbody td:nth-child({place})") == list(map(str, order))


def test_the_page_asks_the_network_for_nothing(reader, written):
    reader.click("input[value=parameters] + span")
    reader.click("#measurements tbody a")
    reader.panel()
    events = [json.loads(entry["message"])["message"] for entry in reader.driver.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert (written / "report.html").as_uri() in asked
    assert {url.partition(":")[0] for url in asked} <= {"file", "blob", "data"}
    assert [url for url in asked if url.startswith("file")] == [(written / "report.html").as_uri()]


def test_the_page_forbids_the_browser_to_load_anything(reader):
    blocked = reader.driver.execute_async_script(
        "const done = arguments[0], found = [];"
        "addEventListener('securitypolicyviolation', event => found.push(event.blockedURI) == 3 && done(found));"
        "document.body.append(Object.assign(document.createElement('script'), {src: 'https://localhost:1/script'}));"
        "document.body.append(Object.assign(document.createElement('img'), {src: 'https://localhost:1/image'}));"
        "fetch('https://localhost:1/fetch').catch(() => {});"
    )
    assert {url.rpartition("/")[2] for url in blocked} == {"script", "image", "fetch"}
    reader.driver.get_log("browser")  # these three


def test_verdicts_stand_on_top_and_markup_in_them_is_text(reader):
    assert reader.texts("main > section > h2")[0] == "Verdicts"
    assert reader.texts("#verdicts > .hint") == ["1 partly, 1 not attempted, 1 without a verdict"]
    assert "n = 2 is small: intervals are wide" in reader.one("#verdicts > .note").text
    assert "not known from the history at hand. Rules: not committed." in reader.one("#order").text
    claims = [item.text for item in reader.all(".claims > li")]
    assert claims[0].startswith("“Penalties help & <b>hurt</b>”\n◐ partly\nSomebody (2021).")
    assert claims[1] == "b\n– not attempted\nNo such method & no <b>evidence</b>."
    reader.focus(".claims summary")
    reader.press(Keys.ENTER)
    assert (
        reader.one(".claims tbody").text == "VGG-19 ✓ reproduced Above the margin.\nResNet-20 ? inconclusive Too wide."
    )


def test_a_verdict_and_its_numbers_lead_to_the_measurements_behind_them(reader):
    reader.click(".claims summary")
    reader.click(".claims tbody a[href*='network=resnet20']")
    reader.until(lambda: set(reader.texts("#measurements tbody td:nth-child(1)")) == {"ResNet-20"})
    reader.click(".claims tbody a[href*='ratio=0.4']")
    rows = lambda: [row.text.split() for row in reader.all("#measurements tbody tr")]  # noqa: E731
    reader.until(lambda: len(rows()) == 4 * 2)
    assert all(row[0] == "VGG-19" and "40 % Right after pruning" in " ".join(row) for row in rows())


def test_the_ledger_is_sorted_by_mouse_and_by_keyboard(reader, written):
    accuracy = ledger.read(written / "ledger.csv")["accuracy"]
    header = "#measurements th:nth-child(6)"
    first = "#measurements tbody tr:first-child td:nth-child({})"
    reader.click(header)
    reader.until(lambda: reader.texts(first.format(6)) == [f"{100 * accuracy.min():.2f} %"])
    assert reader.one(header).get_attribute("aria-sort") == "ascending"
    reader.focus(f"{header} [role=button]")
    reader.press(Keys.ENTER)
    reader.until(lambda: reader.texts(first.format(6)) == [f"{100 * accuracy.max():.2f} %"])
    reader.click("#measurements th:nth-child(2)")  # methods have an order of their own, not the alphabet's
    reader.until(lambda: reader.texts(first.format(2)) == ["no penalty"])


def test_the_ledger_is_filtered_by_choice_and_by_word(reader, written):
    measured = ledger.read(written / "ledger.csv")
    counted = lambda: reader.one(".dt-info").text  # noqa: E731
    assert f"of {len(measured)} " in counted()
    reader.click("#filters [name=network]")
    reader.press("V", Keys.ENTER)
    some = measured[measured["network"] == "vgg19"]
    reader.until(lambda: f"of {len(some)} " in counted())
    reader.focus("#filters [name=text]")
    reader.press("tl1")
    some = some[some["method"] == "tl1-1"]
    reader.until(lambda: f"of {len(some)} " in counted())
    assert set(reader.texts("#measurements tbody td:nth-child(2)")) == {"Tℓ₁ (a=1)"}
    reader.click("#filters [type=reset]")
    reader.until(lambda: f"of {len(measured)} " in counted())
    reader.run("const e = document.querySelector('#filters [name=ratio]'); e.value = '0'")
    reader.focus("#filters [name=text]")
    reader.press("l")
    reader.until(lambda: set(reader.texts("#measurements tbody td:nth-child(5)")) == {"Before pruning"})
    reader.click("#filters [type=reset]")
    reader.until(lambda: f"of {len(measured)} " in counted())


def test_every_number_of_the_ledger_leads_to_its_record(reader):
    cells = "#measurements tbody tr:nth-child(1) td.number"
    links = reader.run(
        "return [...document.querySelectorAll(arguments[0])].map(e => e.querySelector('a')?.getAttribute('href'))",
        cells,
    )
    assert links == ["#record/digits/resnet20/none/seed1/trained"] * 6


def test_a_record_shows_what_made_it_and_gives_the_keyboard_back_when_closed(reader, written):
    link = "#measurements tbody tr:nth-child(2) a"
    reader.focus(link)
    reader.press(Keys.ENTER)
    text = reader.panel()
    record = records.read(written / "records/digits/resnet20/none/seed1/pruned-0.2.json")
    for shown in (
        record["checkpoint"]["sha256"],
        record["checkpoint"]["path"],
        record["provenance"]["commit"],
        record["provenance"]["command"],
        record["provenance"]["machine"]["processor"],
        "results/synthetic/records/digits/resnet20/none/seed1/pruned-0.2.json",
        "schedule.weight_decay",
    ):
        assert shown in text
    assert len(reader.all("#record .commands pre")) == 2  # training, then pruning
    reader.press(Keys.ESCAPE)
    reader.until(lambda: not reader.run("return document.getElementById('record').open"))
    assert reader.run("return document.activeElement === document.querySelector(arguments[0])", link)
    assert "#record" not in reader.driver.current_url


def test_a_record_has_an_address_its_log_and_a_way_to_what_it_was_made_from(browser, written):
    browser.open(written / "report.html", f"#record/{ID}")
    text = browser.panel()
    assert "After fine-tuning, 40 % of channels removed" in text
    assert [row.count("slimming train") for row in browser.texts("#record .commands li")] == [1, 1, 1]
    browser.click("#record summary")
    epochs = pd.read_csv(written / "curves.csv").query(
        "network == 'vgg19' and method == 'tl1-1' and seed == 2 and stage == 'finetuned' and ratio == 0.4"
    )
    last = browser.texts("#record details tbody tr:last-child td")
    assert (last[0], float(last[2])) == ("15", pytest.approx(epochs["loss"].iloc[-1], rel=1e-3))
    browser.click("#record dd a[href^='#record']")
    browser.until(lambda: "Right after pruning" in browser.panel())
    browser.open(written / "report.html", "#record/no/such")
    assert "no record no/such" in browser.panel()
    assert browser.driver.get_log("browser") == []


def test_without_its_record_the_panel_says_so(browser, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page.write(synthetic.small_study(tmp_path, records_too=False), tmp_path / "report.html")
    browser.open(tmp_path / "report.html", f"#record/{ID}")
    text = browser.panel()
    assert "Not all records are here" in text
    assert "slimming finetune" in text
    assert "0123456789abcdef0123456789abcdef01234567" in text  # all records agree on the commit
    assert browser.driver.get_log("browser") == []


def test_a_ledger_without_pruning_has_no_curves_but_a_table(browser, tmp_path):
    ledger.write("synthetic", synthetic.write(tmp_path, ratios=(), finetuned=()), tmp_path)
    page.write(tmp_path, tmp_path / "report.html")
    browser.open(tmp_path / "report.html")
    assert "Nothing has been pruned" in browser.one("#curves").text
    assert not browser.one("#view").is_displayed()
    assert browser.all("#measurements tbody a")
    assert browser.driver.get_log("browser") == []


TARGETS = "figure[data-stage=pruned][data-network=vgg19] .targets_marks path"


def test_pointing_at_a_curve_names_method_seed_and_ratio_and_a_click_opens_the_record(reader):
    for path in reader.all("fieldset.chips label")[:3]:  # leave one method, so that no point hides another
        path.click()
    reader.until(lambda: len(reader.all(TARGETS)) == 2 * 5)
    target = reader.all(TARGETS)[-1]
    ActionChains(reader.driver).move_to_element(target).perform()
    tip = reader.until(lambda: reader.one("#tip").text)
    assert tip.splitlines()[:3] == [
        "Tℓ₁ (a=1)",
        "VGG-19, digits, seed 2",
        "Right after pruning, 80 % of channels removed",
    ]
    ActionChains(reader.driver).click().perform()
    assert "Tℓ₁ (a=1) · VGG-19 · digits · seed 2" in reader.panel()


def test_curves_are_read_with_the_keyboard(reader):
    reader.focus("figure[data-stage=pruned][data-network=vgg19] .chart")
    reader.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    tip = reader.until(lambda: reader.one("#tip").text)
    assert tip.splitlines()[1:3] == ["VGG-19, digits, seed 1", "Right after pruning, 20 % of channels removed"]
    reader.press(Keys.SPACE)
    assert "no penalty · VGG-19 · digits · seed 1" in reader.panel()


def test_curves_go_against_parameters_and_hide_methods(reader):
    titles = "figure[data-stage=finetuned] .role-axis-title text"
    assert "Channels removed" in reader.texts(titles)
    reader.focus("input[name=axis]:checked")
    reader.press(Keys.ARROW_RIGHT)
    reader.until(lambda: "Parameters" in reader.texts(titles))
    points = len(reader.all(TARGETS))
    reader.focus("input[value=l1]")
    reader.press(Keys.SPACE)
    reader.until(lambda: len(reader.all(TARGETS)) == points * 3 // 4)


def test_a_method_has_the_colour_of_the_figures(reader):
    expected = [style.line(method)["color"] for method in ("none", "l1", "lp-0.75", "tl1-1")]
    strokes = reader.run(
        "return [...document.querySelectorAll('.chips svg path:first-child')].map(e => getComputedStyle(e).stroke)"
    )
    found = ["#" + "".join(f"{int(part):02x}" for part in re.findall(r"\d+", stroke)) for stroke in strokes]
    assert found == expected


def test_the_theme_follows_the_reader_until_they_choose(browser, written):
    light = lambda: browser.run(  # noqa: E731
        "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).every(part => part > 128)"
    )
    for scheme in ("light", "dark"):
        browser.open(written / "report.html", scheme=scheme)
        assert light() == (scheme == "light")
        browser.focus("#theme")
        browser.press(Keys.SPACE)
        assert light() == (scheme == "dark")
        assert browser.one("#theme").get_attribute("aria-pressed") == str(scheme == "light").lower()


def test_what_the_tab_key_reaches_shows_it(reader):
    focused = (
        "const e = document.activeElement, shown = e.matches('fieldset input') ? e.nextElementSibling : e;"
        "const style = getComputedStyle(shown); return [e.tagName, style.outlineStyle, style.outlineWidth]"
    )
    seen = []
    for _ in range(14):
        reader.press(Keys.TAB)
        name, line, width = reader.run(focused)
        seen.append(name)
        assert line != "none", name
        assert width == "2px", name
    assert {"A", "BUTTON", "SUMMARY", "INPUT"} <= set(seen)


@pytest.mark.parametrize("address", ["", f"#record/{ID}"])
def test_a_phone_scrolls_tables_but_never_the_page_sideways(browser, written, address):
    browser.open(written / "report.html", address, width=360)
    assert browser.run("return document.documentElement.scrollWidth") == 360
    assert browser.run("const e = document.getElementById('record'); return e.scrollWidth <= e.clientWidth")
    assert browser.run("const e = document.querySelector('#ledger .scroll'); return e.scrollWidth > e.clientWidth")
