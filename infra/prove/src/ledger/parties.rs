//! The parties of the model: two deliveries of one event, and three workers.

use std::ops::{Index, IndexMut};

use uuid::Uuid;

/// A delivery of the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Delivery {
    /// The delivery that arrives at the beginning.
    First,
    /// The delivery that arrives at the beginning or at any later time.
    Second,
}

/// A worker: one of the function's execution environments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Worker {
    #[expect(missing_docs, reason = "the variant is only a name")]
    A,
    #[expect(missing_docs, reason = "the variant is only a name")]
    B,
    #[expect(missing_docs, reason = "the variant is only a name")]
    C,
}

/// One value for each delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PerDelivery<T>(pub [T; 2]);

/// One value for each worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PerWorker<T>(pub [T; 3]);

impl Delivery {
    /// Both deliveries.
    pub const ALL: [Self; 2] = [Self::First, Self::Second];

    /// Id of the delivery, as the ledger stores it.
    #[must_use]
    pub fn id(self) -> Uuid {
        Uuid::from_u128(match self {
            Self::First => 1001,
            Self::Second => 1002,
        })
    }
}

impl Worker {
    /// All workers.
    pub const ALL: [Self; 3] = [Self::A, Self::B, Self::C];
}

impl<T> Index<Delivery> for PerDelivery<T> {
    type Output = T;

    fn index(&self, delivery: Delivery) -> &T {
        let [first, second] = &self.0;
        match delivery {
            Delivery::First => first,
            Delivery::Second => second,
        }
    }
}

impl<T> IndexMut<Delivery> for PerDelivery<T> {
    fn index_mut(&mut self, delivery: Delivery) -> &mut T {
        let [first, second] = &mut self.0;
        match delivery {
            Delivery::First => first,
            Delivery::Second => second,
        }
    }
}

impl<T> Index<Worker> for PerWorker<T> {
    type Output = T;

    fn index(&self, worker: Worker) -> &T {
        let [a, b, c] = &self.0;
        match worker {
            Worker::A => a,
            Worker::B => b,
            Worker::C => c,
        }
    }
}

impl<T> IndexMut<Worker> for PerWorker<T> {
    fn index_mut(&mut self, worker: Worker) -> &mut T {
        let [a, b, c] = &mut self.0;
        match worker {
            Worker::A => a,
            Worker::B => b,
            Worker::C => c,
        }
    }
}
