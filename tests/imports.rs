//! Imports of `src` point one way: to folders that come before in [`LAYERS`], and never in a circle
//! of files. So a reader can begin at the bottom, and a change reaches only what is above it.
//!
//! A file `mod.rs` declares and re-exports, and holds no code: what it re-exports is looked up
//! where it is defined. Tests may import what they like. Paths in a macro's arguments, and calls of
//! methods, are not seen.

#![allow(
    clippy::unwrap_used,
    reason = "clippy.toml allows it in tests, but does not see that helpers are test code"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use syn::visit::Visit;
use syn::{Attribute, Item, UseTree};

/// The modules at the top of `src`, from the bottom up: each imports only those before it.
const LAYERS: [&str; 17] = [
    "observe",
    "name",
    "config",
    "url",
    "discovery",
    "topology",
    "balance",
    "error",
    "routing",
    "sql",
    "gtid",
    "server",
    "pool",
    "conn",
    "checkout",
    "cluster",
    // The crate's root, which re-exports.
    "",
];

/// The path of a module, without `crate`.
type Module = Vec<String>;

/// One import: from which module, and the path that is written there, without `crate`.
struct Import {
    from: Module,
    path: Vec<String>,
}

#[derive(Default)]
struct Sources {
    files: BTreeMap<Module, String>,
    imports: Vec<Import>,
    /// What a module re-exports, by name.
    exports: BTreeMap<(Module, String), Vec<String>>,
    /// Files called `mod.rs` that hold code.
    with_code: Vec<String>,
}

impl Sources {
    fn read() -> Self {
        let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut sources = Self::default();
        sources.walk(&src, &src);
        sources
    }

    fn walk(&mut self, src: &Path, folder: &Path) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.walk(src, &path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                self.file(src, &path);
            }
        }
    }

    fn file(&mut self, src: &Path, path: &Path) {
        let shown = path.strip_prefix(src).unwrap().with_extension("");
        let mut module: Module = shown
            .iter()
            .map(|part| part.to_str().unwrap().to_owned())
            .collect();
        let is_parent = ["mod", "lib"].contains(&&**module.last().unwrap());
        if is_parent {
            module.pop();
        }
        let text = fs::read_to_string(path).unwrap();
        let file = syn::parse_file(&text).unwrap();
        let declares = |item: &Item| matches!(item, Item::Mod(_) | Item::Use(_));
        if is_parent && !module.is_empty() && !file.items.iter().all(declares) {
            self.with_code.push(path.display().to_string());
        }
        let mut visitor = Visitor {
            module: module.clone(),
            is_parent,
            sources: self,
        };
        visitor.visit_file(&file);
        self.files.insert(module, path.display().to_string());
    }

    /// The file that defines what `path` names, if it is one of ours.
    fn definition(&self, path: &[String]) -> Option<Module> {
        let length = (0..=path.len())
            .rev()
            .find(|length| self.files.contains_key(&path[..*length]))?;
        let (module, rest) = path.split_at(length);
        let exported = rest.first().and_then(|name| {
            let target = self.exports.get(&(module.to_vec(), name.clone()))?;
            self.definition(target)
        });
        exported.or_else(|| Some(module.to_vec()))
    }

    /// Which file imports which, and one path by which it does.
    fn edges(&self) -> BTreeMap<Module, BTreeMap<Module, String>> {
        let mut edges: BTreeMap<Module, BTreeMap<Module, String>> = BTreeMap::new();
        for Import { from, path } in &self.imports {
            if let Some(to) = self.definition(path)
                && to != *from
            {
                let path = format!("crate::{}", path.join("::"));
                edges.entry(from.clone()).or_default().insert(to, path);
            }
        }
        edges
    }
}

/// Collects the imports of one file.
struct Visitor<'a> {
    module: Module,
    is_parent: bool,
    sources: &'a mut Sources,
}

/// Whether an item is there for tests only.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else {
            return false;
        };
        let condition = list.tokens.to_string();
        let is_cfg = list.path.is_ident("cfg");
        is_cfg && (condition.contains("test") || condition.contains("fuzzing"))
    })
}

impl Visitor<'_> {
    /// The path from the crate's root; `None`: it leads out of the crate.
    fn absolute(&self, path: &[String]) -> Option<Vec<String>> {
        let mut base = self.module.clone();
        let mut rest = path;
        match &**rest.first()? {
            "crate" => return Some(rest[1..].to_vec()),
            "self" | "super" => {
                while let Some(word) = rest
                    .first()
                    .filter(|word| ["self", "super"].contains(&&***word))
                {
                    if *word == "super" {
                        base.pop()?;
                    }
                    rest = &rest[1..];
                }
            }
            // A child of this module, or another crate.
            _ => {}
        }
        base.extend_from_slice(rest);
        Some(base)
    }

    fn add(&mut self, path: &[String], exported: bool) {
        let Some(path) = self.absolute(path) else {
            return;
        };
        if exported && let Some(name) = path.last() {
            let key = (self.module.clone(), name.clone());
            self.sources.exports.insert(key, path.clone());
        }
        // A parent only passes on what others import.
        if !self.is_parent {
            let from = self.module.clone();
            self.sources.imports.push(Import { from, path });
        }
    }

    fn tree(&mut self, before: &mut Vec<String>, tree: &UseTree, exported: bool) {
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.tree(before, &path.tree, exported);
                before.pop();
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.tree(before, tree, exported);
                }
            }
            UseTree::Glob(_) => self.add(before, false),
            UseTree::Name(name) if name.ident == "self" => self.add(before, exported),
            UseTree::Name(name) => self.leaf(before, name.ident.to_string(), exported),
            UseTree::Rename(rename) => self.leaf(before, rename.ident.to_string(), exported),
        }
    }

    fn leaf(&mut self, before: &mut Vec<String>, name: String, exported: bool) {
        before.push(name);
        self.add(before, exported);
        before.pop();
    }
}

impl<'ast> Visit<'ast> for Visitor<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Mod(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            _ => return syn::visit::visit_item(self, item),
        };
        if is_for_tests(attributes) {
            return;
        }
        match item {
            // Inside of it, `super` is this file.
            Item::Mod(inline) if inline.content.is_some() => {
                self.module.push(inline.ident.to_string());
                syn::visit::visit_item_mod(self, inline);
                self.module.pop();
            }
            item => syn::visit::visit_item(self, item),
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let exported = !matches!(item.vis, syn::Visibility::Inherited);
        self.tree(&mut Vec::new(), &item.tree, exported);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let words: Vec<String> = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        if ["crate", "super", "self"].contains(&&*words[0]) && words.len() > 1 {
            self.add(&words, false);
        }
        syn::visit::visit_path(self, path);
    }
}

/// Whether a module is compiled for tests only, or is the crate's root.
fn is_left_out(module: &Module) -> bool {
    let tests = ["tests", "testing", "smoke", "on_servers", "fuzzing"];
    module.is_empty() || module.iter().any(|part| tests.contains(&&**part))
}

fn layer(module: &Module) -> usize {
    let top = module.first().map_or("", String::as_str);
    let layer = LAYERS.iter().position(|layer| *layer == top);
    layer.unwrap_or_else(|| panic!("{top} has no place in LAYERS"))
}

fn shown(module: &Module) -> String {
    format!("src/{}", module.join("/"))
}

#[test]
fn each_folder_imports_only_those_below_it() {
    let mut wrong = Vec::new();
    for (from, targets) in Sources::read().edges() {
        for (to, path) in targets {
            if !is_left_out(&from) && layer(&to) > layer(&from) {
                wrong.push(format!("{}: use {path}", shown(&from)));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "these point upwards:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let mut edges = Sources::read().edges();
    edges.retain(|from, _| !is_left_out(from));
    // Files that import nothing that is left go, and files that none that is left imports: what
    // stays is a circle.
    loop {
        let before = edges.len();
        let importing: BTreeSet<Module> = edges.keys().cloned().collect();
        for targets in edges.values_mut() {
            targets.retain(|to, _| importing.contains(to));
        }
        let imported: BTreeSet<Module> = edges.values().flat_map(BTreeMap::keys).cloned().collect();
        edges.retain(|from, targets| !targets.is_empty() && imported.contains(from));
        if edges.len() == before {
            break;
        }
    }
    let uses = edges.iter().flat_map(|(from, targets)| {
        let paths = targets.values();
        paths.map(|path| format!("{}: use {path}", shown(from)))
    });
    let uses: Vec<String> = uses.collect();
    assert!(uses.is_empty(), "these make a circle:\n{}", uses.join("\n"));
}

#[test]
fn a_mod_rs_declares_and_holds_no_code() {
    let with_code = Sources::read().with_code;
    assert!(with_code.is_empty(), "{with_code:#?}");
}

#[test]
fn what_is_re_exported_is_found_where_it_is_defined() {
    let sources = Sources::read();
    let path = ["topology", "Topology"].map(str::to_owned);
    let file = sources.definition(&path).unwrap();
    assert_eq!(shown(&file), "src/topology/snapshot");
    let edges = sources.edges();
    let targets = &edges[&["topology", "merge"].map(str::to_owned).to_vec()];
    assert!(targets.contains_key(&file), "{targets:?}");
}
