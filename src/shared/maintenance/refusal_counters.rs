//! What has kept a write from the database in maintenance, counted: SHOW STATE tells.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What stands between a statement and the database, from the outside in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// pgsluice has read the statement and refused it.
    Reader,
    /// It names what leads to an unseen writer, as the catalog tells.
    Catalog,
    /// The server has, in its READ ONLY transaction.
    Server,
    /// The server has kept it from ending the block it was put in (2D000).
    Block,
    /// The transaction had written, and was rolled back in place of its COMMIT.
    Proof,
    /// The guard fell, and the server connection was closed before anything else ran on it.
    Guard,
}

/// One counter for each.
#[derive(Debug, Default)]
pub struct Layers([AtomicU64; 6]);

impl Layers {
    /// The layers, with the words that SHOW STATE has for them.
    pub const WORDS: [(Layer, &'static str); 6] = [
        (Layer::Reader, "refused_by_reader"),
        (Layer::Catalog, "refused_by_catalog"),
        (Layer::Server, "refused_by_server"),
        (Layer::Block, "refused_by_block"),
        (Layer::Proof, "refused_by_proof"),
        (Layer::Guard, "guards_fallen"),
    ];

    /// Counts one.
    pub fn count(&self, layer: Layer) {
        self.count_many(layer, 1);
    }

    /// Counts several.
    pub fn count_many(&self, layer: Layer, count: u64) {
        if let Some(counter) = self.0.get(layer as usize) {
            counter.fetch_add(count, Relaxed);
        }
    }

    /// How many there were.
    pub fn get(&self, layer: Layer) -> u64 {
        self.0.get(layer as usize).map_or(0, |counter| counter.load(Relaxed))
    }
}
