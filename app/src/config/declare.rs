//! The macro that makes structs, table and loading from one declaration of settings.
//!
//! `field: Type = FORMAT("default")` under a doc comment becomes a field of the section's struct, a row of
//! [`super::SETTINGS`] and a read by [`super::format::Format`]; the doc comment is the help.

macro_rules! settings {
    (
        $(#[doc = $root_doc:literal])+
        $Root:ident { $($(#[doc = $doc:literal])+ $field:ident: $ty:ty = $format:ident($default:literal),)+ }
        $(
            $(#[doc = $section_doc:literal])+
            $section:ident: $Section:ident {
                $(
                    $(#[doc = $inner_doc:literal])+
                    $inner:ident: $inner_ty:ty = $inner_format:ident($inner_default:literal),
                )+
            }
        )+
    ) => {
        $(#[doc = $root_doc])+
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $Root {
            $($(#[doc = $doc])+ pub $field: $ty,)+
            $($(#[doc = $section_doc])+ pub $section: $Section,)+
        }

        $(
            $(#[doc = $section_doc])+
            #[derive(Debug, Clone, PartialEq, Eq)]
            pub struct $Section {
                $($(#[doc = $inner_doc])+ pub $inner: $inner_ty,)+
            }

            impl $Section {
                // Everything is read before anything is given up, so that every problem is found.
                fn read(source: &mut load::Source<'_>) -> Option<Self> {
                    $(let $inner = source.read(
                        concat!(stringify!($section), ".", stringify!($inner)), $inner_default, &$inner_format,
                    );)+
                    Some(Self { $($inner: $inner?,)+ })
                }
            }
        )+

        impl $Root {
            fn read(source: &mut load::Source<'_>) -> Option<Self> {
                $(let $field = source.read(stringify!($field), $default, &$format);)+
                $(let $section = $Section::read(source);)+
                Some(Self { $($field: $field?,)+ $($section: $section?,)+ })
            }
        }

        /// Every setting, in the order of the file.
        pub const SETTINGS: &[Setting] = &[
            $(Setting {
                key: stringify!($field),
                default: $default,
                help: &[$($doc),+],
                expected: $format.expected,
                list: $format.list,
            },)+
            $($(Setting {
                key: concat!(stringify!($section), ".", stringify!($inner)),
                default: $inner_default,
                help: &[$($inner_doc),+],
                expected: $inner_format.expected,
                list: $inner_format.list,
            },)+)+
        ];

        /// Every section of the file with what it is about.
        pub const SECTIONS: &[(&str, &[&str])] = &[$((stringify!($section), &[$($section_doc),+])),+];
    };
}

pub(super) use settings;
