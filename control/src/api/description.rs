//! What every operation has alike, for the API's description.

use utoipa::Modify;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ObjectBuilder, OpenApi, RefOr, Required, Response, Type};

/// Adds how callers show who they are, what those are answered who do not, and what every action may carry.
pub(crate) struct Everywhere;

impl Modify for Everywhere {
    fn modify(&self, description: &mut OpenApi) {
        let scheme = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        description.components.get_or_insert_default().add_security_scheme("bearer", scheme);
        for path in description.paths.paths.values_mut() {
            let actions = [&mut path.put, &mut path.post, &mut path.delete].into_iter().flatten();
            actions.for_each(add_action_headers);
            let operations = [&mut path.get, &mut path.put, &mut path.post, &mut path.delete];
            for operation in operations.into_iter().flatten() {
                name(operation);
                let refused = Response::new("no token that the daemon knows; a `Problem`");
                operation.responses.responses.insert("401".into(), RefOr::T(refused));
            }
        }
    }
}

/// Names an operation after its tag too: several have a `list`, and whoever makes a client from the description needs different
/// names.
fn name(operation: &mut Operation) {
    let tag = operation.tags.iter().flatten().next();
    if let (Some(tag), Some(id)) = (tag, &operation.operation_id) {
        operation.operation_id = Some(format!("{tag}_{id}"));
    }
}

fn add_action_headers(operation: &mut Operation) {
    operation.parameters.get_or_insert_default().extend([
        header(
            "Graylane-Reason",
            "why, for the audit log, where the body has no `reason`: UTF-8 or percent-encoded UTF-8, at most 1,024 bytes decoded; \
             a percent sign has to be encoded",
        ),
        header(
            "Idempotency-Key",
            "1 to 255 printable ASCII characters, fresh for each action. The same request with the same key within 24 hours is \
             not done again, but answered with what it did, or with its object as it is now, and `Idempotent-Replayed: true`; \
             another request with it is refused with 422",
        ),
    ]);
}

fn header(name: &str, says: &str) -> RefOr<Parameter> {
    let text = ObjectBuilder::new().schema_type(Type::String).build();
    let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Header);
    RefOr::T(parameter.required(Required::False).description(Some(says)).schema(Some(text)).build())
}
