//! The rules for customers: creation, and the subscription.

use jiff::Timestamp;

use crate::world::{
    change::{Moment, Outcome, World},
    customer::{CreatedCustomer, Customer, NewCustomer, Subscription},
    event::{Event, EventName, Subject},
    refusal::Refusal,
};

impl World {
    /// Creates a customer, with a subscription if the request has one. A mobile number belongs to
    /// one customer, so AURA refuses a second one with 409.
    pub(crate) fn create_customer(
        &mut self,
        new: NewCustomer,
        moment: &mut Moment<'_>,
    ) -> Outcome<CreatedCustomer> {
        if self.has_mobile(&new.customer.mobile) {
            return Err(Refusal::Conflict(
                "a customer with this mobile number exists already".to_owned(),
            ));
        }
        let customer = Customer {
            id: moment.ids.take(),
            person: new.customer,
        };
        let subscription = new.subscription.map(|terms| Subscription {
            id: moment.ids.take(),
            customer_id: customer.id,
            terms,
        });
        let created = CreatedCustomer {
            customer,
            subscription,
        };
        self.remember(&created);
        let events = created.events();
        Ok((created, events))
    }

    /// Whether the customer may raise callouts now.
    pub(crate) fn is_subscribed(&self, customer_id: u64, now: Timestamp) -> bool {
        self.subscriptions
            .get(&customer_id)
            .is_some_and(|subscription| subscription.terms.cover(now))
    }

    fn has_mobile(&self, mobile: &str) -> bool {
        self.customers
            .values()
            .any(|customer| customer.person.mobile == mobile)
    }

    fn remember(&mut self, created: &CreatedCustomer) {
        let id = created.customer.id;
        self.customers.insert(id, created.customer.clone());
        if let Some(subscription) = &created.subscription {
            self.subscriptions.insert(id, subscription.clone());
        }
    }
}

impl CreatedCustomer {
    fn events(&self) -> Vec<Event> {
        let customer = Event {
            message: EventName::CreatedCustomer,
            subject: Subject::Customer(self.customer.clone()),
        };
        let subscription = self.subscription.clone().map(|subscription| Event {
            message: EventName::SubscriptionCreated,
            subject: Subject::Subscription(subscription),
        });
        std::iter::once(customer).chain(subscription).collect()
    }
}
