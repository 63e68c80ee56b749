//! AURA's descriptions of a callout, in events and in answers of the API.
//!
//! Real captures show `incidentInformation` as an array inside `callout`, coordinates as strings,
//! `predefinedLocationId` as a string, and the category under one of two spellings. The
//! documentation adds that responder events have the responder, the supplier, and the times of
//! dispatch, arrival and completion. It doesn't give their names. So `responder`, `supplier`,
//! `dispatchedAt`, `estimatedArrivalAt`, `arrivedAt`, `completedAt` and `owner` are this stand-in's
//! own names. A category as plain text is its own choice too.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::world::callout::{Callout, Responder};

/// The form of AURA's enumerations: `{"value": "…"}`.
#[derive(Clone, Serialize)]
pub(crate) struct EnumValue {
    value: &'static str,
}

/// A text in AURA's form: `{"description": "…"}`.
#[derive(Clone, Serialize)]
struct Description {
    description: &'static str,
}

/// A reference to another object by its id: `{"id": 1}`.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Reference {
    pub(crate) id: u64,
}

/// A supplier of responders: `{"name": "…"}`.
#[derive(Clone, Serialize)]
struct Supplier {
    name: &'static str,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct CurrentLocation {
    latitude: String,
    longitude: String,
    formatted_address: String,
}

/// One element of `incidentInformation`.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Incident {
    #[serde(skip_serializing_if = "Option::is_none")]
    predefined_location_id: Option<String>,
    type_of_emergency: Description,
    response_type: EnumValue,
    callout_current_location: CurrentLocation,
    #[serde(flatten)]
    category: Category,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<Reference>,
    #[serde(flatten)]
    response: Option<ResponderDetails>,
}

/// The category of an incident. Both spellings occur in real captures, and AURA documents no rule.
/// Here a callout with an even id has the one, and a callout with an odd id has the other.
#[derive(Clone, Serialize)]
enum Category {
    #[serde(rename = "incidentCategory")]
    Camel(&'static str),
    #[serde(rename = "incidentcategory")]
    Lower(&'static str),
}

/// The part of an incident that describes one responder.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct ResponderDetails {
    responder: Reference,
    supplier: Supplier,
    dispatched_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    estimated_arrival_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arrived_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed_at: Option<Timestamp>,
}

/// The member `callout` of an event.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CalloutPayload {
    pub(crate) id: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    incident_information: Vec<Incident>,
    #[serde(skip_serializing_if = "Option::is_none")]
    callout_classification: Option<EnumValue>,
}

/// The member `callout` in the answer of the call "Get a callout".
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NestedCallout {
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_id: Option<u64>,
    status: &'static str,
    created_at: Timestamp,
    #[serde(flatten)]
    callout: CalloutPayload,
}

/// A callout in the flat form, as in the list of active callouts.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FlatCallout {
    id: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    predefined_location_id: Option<u64>,
    status: &'static str,
    latitude: f64,
    longitude: f64,
    response_type_id: u64,
    callout_classification_id: u64,
    created_at: Timestamp,
}

impl CalloutPayload {
    /// Makes the payload with one incident. If there is a responder, the incident describes that
    /// responder.
    pub(crate) fn with_incident(callout: &Callout, responder: Option<&Responder>) -> Self {
        Self::with_incidents(callout, vec![Incident::of(callout, responder)])
    }

    /// Makes the payload with only the id. AURA sends this when the event stream changes, and at
    /// times in any event except the first.
    pub(crate) fn bare(id: u64) -> Self {
        Self {
            id,
            incident_information: Vec::new(),
            callout_classification: None,
        }
    }

    fn with_incidents(callout: &Callout, incident_information: Vec<Incident>) -> Self {
        Self {
            id: callout.id,
            incident_information,
            callout_classification: Some(classification(callout)),
        }
    }
}

impl NestedCallout {
    pub(crate) fn id(&self) -> u64 {
        self.callout.id
    }

    /// Makes the nested form of a callout, with one incident for each responder. Without a
    /// responder, it has one incident.
    pub(crate) fn of(callout: &Callout) -> Self {
        let mut incidents: Vec<_> = callout
            .responders
            .iter()
            .map(|responder| Incident::of(callout, Some(responder)))
            .collect();
        if incidents.is_empty() {
            incidents.push(Incident::of(callout, None));
        }
        Self {
            customer_id: callout.customer_id,
            status: callout.status(),
            created_at: callout.created_at,
            callout: CalloutPayload::with_incidents(callout, incidents),
        }
    }
}

impl FlatCallout {
    pub(crate) fn of(callout: &Callout) -> Self {
        Self {
            id: callout.id,
            customer_id: callout.customer_id,
            predefined_location_id: callout.predefined_location_id,
            status: callout.status(),
            latitude: callout.position.latitude,
            longitude: callout.position.longitude,
            response_type_id: callout.emergency.response_type_id,
            callout_classification_id: callout.emergency.callout_classification_id,
            created_at: callout.created_at,
        }
    }
}

impl Incident {
    fn of(callout: &Callout, responder: Option<&Responder>) -> Self {
        let nature = Nature::of(callout.emergency.response_type_id);
        Self {
            predefined_location_id: callout.predefined_location_id.map(|id| id.to_string()),
            type_of_emergency: Description {
                description: nature.description,
            },
            response_type: EnumValue {
                value: nature.response,
            },
            callout_current_location: CurrentLocation::of(callout),
            category: Category::of(callout.id, nature.category),
            owner: callout.owner.map(|id| Reference { id }),
            response: responder.map(ResponderDetails::of),
        }
    }
}

impl CurrentLocation {
    /// Makes the location of a callout. The coordinates are the address, because the stand-in has
    /// no map.
    fn of(callout: &Callout) -> Self {
        let latitude = callout.position.latitude.to_string();
        let longitude = callout.position.longitude.to_string();
        Self {
            formatted_address: format!("{latitude}, {longitude}"),
            latitude,
            longitude,
        }
    }
}

impl Category {
    fn of(callout_id: u64, category: &'static str) -> Self {
        if callout_id.is_multiple_of(2) {
            Self::Camel(category)
        } else {
            Self::Lower(category)
        }
    }
}

impl ResponderDetails {
    fn of(responder: &Responder) -> Self {
        Self {
            responder: Reference { id: responder.id },
            supplier: Supplier {
                name: if responder.id.is_multiple_of(2) {
                    "Northern Response"
                } else {
                    "Southern Response"
                },
            },
            dispatched_at: responder.dispatched_at,
            estimated_arrival_at: responder.estimated_arrival_at,
            arrived_at: responder.arrived_at,
            completed_at: responder.completed_at,
        }
    }
}

/// The texts of a response type. AURA responds with armed guards, medics and roadside help, and
/// doesn't document their numbers. Here 2 is medical, 3 is roadside, and every other number is
/// security.
struct Nature {
    response: &'static str,
    description: &'static str,
    category: &'static str,
}

impl Nature {
    fn of(response_type_id: u64) -> Self {
        let (response, description, category) = match response_type_id {
            2 => ("MEDICAL", "Medical emergency", "HEALTH"),
            3 => ("ROADSIDE", "Vehicle breakdown", "VEHICLE"),
            _ => ("SECURITY", "Panic", "CRIME"),
        };
        Self {
            response,
            description,
            category,
        }
    }
}

/// Classification of a callout: `REAL` or `TEST`, the two values in real captures. AURA doesn't
/// document their numbers.
fn classification(callout: &Callout) -> EnumValue {
    EnumValue {
        value: if callout.emergency.is_test() {
            "TEST"
        } else {
            "REAL"
        },
    }
}
