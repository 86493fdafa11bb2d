//! How many large answers are in memory at once. One is there until its client
//! has read it, or has had its time, so clients that do not read could otherwise
//! fill the memory of the host.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError},
    time::timeout,
};

/// Room for large answers, shared by all clients.
#[derive(Clone, Debug)]
pub struct Room {
    listings: Arc<Semaphore>,
    others: Arc<Semaphore>,
}

impl Default for Room {
    fn default() -> Self {
        let of = |n| Arc::new(Semaphore::new(n));
        Self { listings: of(1), others: of(MAX_LARGE) }
    }
}

/// Held by a client from when its answer is made until it is read.
pub(super) type Place = OwnedSemaphorePermit;

impl Room {
    /// Before connections are listed: there is one listing at a time, and others
    /// wait a moment for it to be read.
    pub(super) async fn for_listing(&self) -> Option<Place> {
        let place = Arc::clone(&self.listings).acquire_owned();
        timeout(PATIENCE, place).await.ok()?.ok()
    }

    /// Whether an answer of this size may stay, a listing by the place that was
    /// made for it. A small one takes none.
    pub(super) fn admit(
        &self,
        n_bytes: usize,
        listing: Option<Place>,
    ) -> Result<Option<Place>, TryAcquireError> {
        if n_bytes <= SMALL_BYTES {
            return Ok(None);
        }
        let place = listing.map_or_else(|| Arc::clone(&self.others).try_acquire_owned(), Ok);
        place.map(Some)
    }
}

/// Less than this, of all clients there can be, is not worth counting. Rules by
/// the thousand take more.
const SMALL_BYTES: usize = 1 << 20;
/// Besides a listing of connections: a hundred thousand rules take 40 MB.
const MAX_LARGE: usize = 4;
/// Most listings are made and read in much less, and who asks waits for ten.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn one_listing_and_a_few_large_answers_are_there_at_once() {
        let room = Room::default();
        let listing = room.for_listing().await.expect("the first");
        let second = timeout(MOMENT, room.for_listing()).await;
        assert!(second.is_err(), "it waits for somebody to read the first");
        let admit = |n_bytes| room.admit(n_bytes, None);
        let large: Vec<_> = (0..MAX_LARGE).map(|_| admit(SMALL_BYTES + 1)).collect();
        assert!(large.iter().all(|place| matches!(place, Ok(Some(_)))));
        assert!(admit(SMALL_BYTES + 1).is_err());
        assert!(matches!(admit(SMALL_BYTES), Ok(None)), "small ones always fit");
        let listing = room.admit(SMALL_BYTES + 1, Some(listing)).expect("it has its own place");
        assert!(listing.is_some());
        // Whoever has read makes room.
        drop((listing, large));
        assert!(matches!(admit(SMALL_BYTES + 1), Ok(Some(_))));
        let listing = room.for_listing().await;
        // A short one leaves its place to the next at once.
        assert!(matches!(room.admit(SMALL_BYTES, listing), Ok(None)));
        assert!(room.for_listing().await.is_some());
    }

    #[tokio::test]
    async fn who_waits_for_a_listing_gets_one_when_the_other_is_read() {
        let room = Room::default();
        let listing = room.for_listing().await;
        let reading = async {
            tokio::time::sleep(MOMENT).await;
            drop(listing);
        };
        let (place, ()) = tokio::join!(room.for_listing(), reading);
        assert!(place.is_some());
    }
}
