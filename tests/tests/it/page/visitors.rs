//! Everybody's page: in either language and either colours, on a phone, without barriers; and under a strict policy.

use techsapo_tests::{Browser, wait};

use super::{Page, World};

/// Width of a small phone, and of the narrowest screen that WCAG 2 asks for (1.4.10, Reflow).
const PHONES: [u32; 2] = [390, 320];

fn theme_is(page: &Page, theme: &str) -> bool {
    page.is(&format!("document.documentElement.dataset.theme === '{theme}'"))
}

fn language_is(page: &Page, language: &str) -> bool {
    page.is(&format!("document.documentElement.lang === '{language}'"))
}

#[test]
fn it_is_without_barriers_in_both_languages_and_colours_and_on_a_phone() {
    let world = World::start();
    let page = Page::open(&world.app);
    // With everything on it that it can show at once.
    page.ask_through("How do I read a flame graph?");
    wait::until_true("there are figures", || {
        page.figure("Spent in all") != "$0.00" && !page.texts("#services li").is_empty()
    });
    page.browser.run("document.querySelectorAll('details').forEach((one) => { one.open = true; });", &[]);
    for theme in ["dark", "light"] {
        wait::until_true("the theme changes", || {
            page.browser.click("#theme");
            theme_is(&page, theme)
        });
        for language in ["ja", "en"] {
            page.browser.click("#language");
            assert!(language_is(&page, language));
            page.browser.resize(1180, 900, false);
            assert_eq!(page.browser.barriers(), [""; 0], "{theme}, {language}");
            for width in PHONES {
                page.browser.resize(width, 844, true);
                let needed = page.browser.run("return document.documentElement.scrollWidth;", &[]);
                assert_eq!(needed, width, "{theme}, {language}");
                assert_eq!(page.browser.barriers(), [""; 0], "{theme}, {language}, {width} wide");
            }
        }
    }
    page.assert_well();
}

#[test]
fn it_speaks_and_looks_as_its_user_prefers_until_told_otherwise_and_then_remembers() {
    let world = World::start();
    let browser = Browser::speaking("ja");
    browser.prefer(&[("prefers-color-scheme", "dark")]);
    let page = Page::load(&world.app, browser);
    wait::until_true("it is connected", || page.text("#connection") == "ライブ");
    assert!(language_is(&page, "ja") && theme_is(&page, "dark"));
    page.browser.click("#language");
    page.browser.click("#theme");
    for _ in 0..2 {
        page.wait_live();
        assert!(language_is(&page, "en") && theme_is(&page, "light"));
        assert_eq!(page.text("#ask-title"), "Ask");
        page.browser.reload();
    }
    page.assert_well();
}

#[test]
fn the_browser_refuses_what_the_policy_does_not_allow() {
    let world = World::start();
    let page = Page::open(&world.app);
    page.assert_well();
    let smuggled = "const script = document.createElement('script');
        script.textContent = 'window.smuggled = true;';
        document.body.append(script);
        const style = document.createElement('style');
        style.textContent = 'body { display: none; }';
        document.head.append(style);
        return window.smuggled === true || getComputedStyle(document.body).display === 'none';";
    assert_eq!(page.browser.run(smuggled, &[]), false);
    let elsewhere = world.exporter.url();
    let image =
        "const image = new Image(); image.src = `${arguments[0]}/metrics`; document.body.append(image);";
    page.browser.run(image, &[&elsewhere]);
    let seen = page.browser.seen();
    for directive in ["script-src 'self'", "style-src 'self'", "img-src 'self'"] {
        let told = |text: &String| text.contains("Content Security Policy") && text.contains(directive);
        assert!(seen.console.iter().any(told), "{directive}: {seen:#?}");
    }
}
