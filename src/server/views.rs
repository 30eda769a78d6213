//! The view service: definitions.

use std::time::Duration;

use tonic::{Request, Response, Status};

use super::deadline::budget;
use super::edge::Edge;
use super::status::Failure;
use crate::model::View;
use crate::model::view_file::{parse_alteration, parse_view};
use crate::node::CatalogueChange;
use crate::proto::v1::view_service_server::ViewService;
use crate::proto::{self, v1};

pub(super) struct Views(pub(super) Edge);

#[tonic::async_trait]
impl ViewService for Views {
    async fn create_view(
        &self,
        request: Request<v1::CreateViewRequest>,
    ) -> Result<Response<v1::CreateViewResponse>, Status> {
        let field = "definition_toml";
        self.0.catalogue_of_changes()?;
        let deadline = budget(request.metadata());
        let spec = parse_view(&request.get_ref().definition_toml)
            .map_err(|error| Failure::from(error).in_field(field))?;
        let view = self
            .define(CatalogueChange::Create(Box::new(spec)), field, deadline)
            .await?;
        Ok(Response::new(v1::CreateViewResponse { view }))
    }

    async fn list_views(
        &self,
        _request: Request<v1::ListViewsRequest>,
    ) -> Result<Response<v1::ListViewsResponse>, Status> {
        let catalogue = self.0.catalogue()?;
        let views = catalogue.views().map(|view| self.describe(view)).collect();
        Ok(Response::new(v1::ListViewsResponse { views }))
    }

    async fn get_view(
        &self,
        request: Request<v1::GetViewRequest>,
    ) -> Result<Response<v1::GetViewResponse>, Status> {
        let catalogue = self.0.catalogue()?;
        let view = proto::find_view(&catalogue, &request.get_ref().name)
            .map_err(|problem| Failure::from(problem.at("name")))?;
        let view = Some(self.describe(view));
        Ok(Response::new(v1::GetViewResponse { view }))
    }

    async fn add_feature(
        &self,
        request: Request<v1::AddFeatureRequest>,
    ) -> Result<Response<v1::AddFeatureResponse>, Status> {
        let deadline = budget(request.metadata());
        let request = request.into_inner();
        proto::find_view(&*self.0.catalogue_of_changes()?, &request.view)
            .map_err(|problem| Failure::from(problem.at("view")))?;
        let change = CatalogueChange::AddFeature {
            view: request.view,
            feature_toml: request.definition_toml,
        };
        let view = self.define(change, "definition_toml", deadline).await?;
        Ok(Response::new(v1::AddFeatureResponse { view }))
    }

    async fn alter_view(
        &self,
        request: Request<v1::AlterViewRequest>,
    ) -> Result<Response<v1::AlterViewResponse>, Status> {
        let field = "alteration_toml";
        let deadline = budget(request.metadata());
        let request = request.into_inner();
        proto::find_view(&*self.0.catalogue_of_changes()?, &request.name)
            .map_err(|problem| Failure::from(problem.at("name")))?;
        let spec = parse_alteration(&request.alteration_toml)
            .map_err(|error| Failure::from(error).in_field(field))?;
        let change = CatalogueChange::Alter {
            view: request.name,
            spec,
        };
        let view = self.define(change, field, deadline).await?;
        Ok(Response::new(v1::AlterViewResponse { view }))
    }

    async fn drop_view(
        &self,
        request: Request<v1::DropViewRequest>,
    ) -> Result<Response<v1::DropViewResponse>, Status> {
        let deadline = budget(request.metadata());
        let view = request.into_inner().name;
        proto::find_view(&*self.0.catalogue_of_changes()?, &view)
            .map_err(|problem| Failure::from(problem.at("name")))?;
        let change = CatalogueChange::Drop { view };
        self.define(change, "name", deadline).await?;
        Ok(Response::new(v1::DropViewResponse {}))
    }
}

impl Views {
    /// Changes the catalogue, by what `field` of the request says; returns the view if it is in force then.
    async fn define(
        &self,
        change: CatalogueChange,
        field: &'static str,
        deadline: Duration,
    ) -> Result<Option<v1::View>, Failure> {
        let defined = self.0.node.define(change, deadline).await;
        let view = defined.map_err(|error| Failure::from(error).in_field(field))?;
        Ok(view.map(|view| self.describe(&view)))
    }

    fn describe(&self, view: &View) -> v1::View {
        proto::view_to_proto(view, self.0.node.row_count(view.id))
    }
}
