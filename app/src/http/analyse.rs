//! From a question that may be asked to an answer, fresh or given again, and to what is stated of it.

use std::sync::Arc;
use std::time::Instant;

use techsapo_shared::labels::ClosedLabel;

use super::App;
use super::answered::Answered;
use super::error::ApiError;
use super::ready::Ready;
use super::wire::{score, usd};
use crate::analysis::{Failure, Watch};
use crate::clock;
use crate::facts::{Asker, record_again, record_analysis};
use crate::store::answers::Search;

/// Below this, an answer's quality deserves a person's look.
const QUALITY_THRESHOLD_PPM: u32 = 700_000;

/// Answers a question: as it was answered before, if that is wanted and known, else by an analysis. That runs to its end, and
/// what happened is stated, whether or not its caller is still there: the calls were made, and they cost.
pub(super) async fn analyze(
    app: &Arc<App>,
    Ready { plan, asker, reader, wish, allowance, mut turn, .. }: Ready,
    watch: Box<Watch>,
) -> Result<Answered, ApiError> {
    // Both are asked of Redis, and go there together. The turn is kept meanwhile, for it is a short wait, and then there is work to do;
    // but not while another makes the answer.
    // Who waits for another's answer may wait as long as that one: for a place, and for the analysis.
    let (arrived, patience) = (Instant::now(), app.settings.analysis.deadline);
    let looking = async { Ok(app.answers.find(&plan, &reader, wish, patience * 2, || turn.pass()).await) };
    let both = async { tokio::try_join!(allowance.granted(), looking) };
    let ((), search) = both.await?;
    let making = match search {
        Search::Found(found) => {
            record_again(&app.recorder, &found, app.audit.is_some().then_some(&asker));
            let answered = Answered::Again(found);
            log(&answered, &asker);
            return Ok(answered);
        }
        Search::Missing(making) => making,
        Search::Refused => return Err(ApiError::overloaded()),
    };
    let left = (patience * 2).saturating_sub(arrived.elapsed());
    let Some(slot) = turn.wait_for(app.admission.admit(patience.min(left))).await else {
        // Whoever had less time than another would have speaks for itself alone.
        if left >= patience {
            making.refuse();
        }
        return Err(ApiError::overloaded());
    };
    let app = Arc::clone(app);
    let work = tokio::spawn(async move {
        // Once all were asked, it is the turn of the next.
        let (report, ()) = tokio::join!(biased; app.analyzer.analyze(plan, &*watch), async { drop(turn) });
        let report = Arc::new(report);
        record_analysis(&app.recorder, &report, app.audit.is_some().then_some(&asker));
        if let Some(upload) = making.finish(&report) {
            // Nobody waits for it.
            tokio::spawn(upload.run());
        }
        let answered = Answered::Fresh(report);
        log(&answered, &asker);
        drop(slot);
        answered
    });
    work.await.map_err(|error| {
        tracing::error!(reason = %error, "An analysis broke off");
        ApiError::internal()
    })
}

fn log(answered: &Answered, asker: &Asker) {
    let report = answered.report();
    let Asker { request_id, caller, user, .. } = asker;
    let (request_id, user) = (request_id.as_ref(), user.as_deref());
    let providers: Vec<_> = report.calls.iter().map(|call| call.provider.as_str()).collect();
    let providers = providers.join(",");
    let (confidence, consensus) =
        (report.verdict.confidence_ppm.map(score), report.verdict.consensus_ppm.map(score));
    let time = clock::micros(answered.duration()) / 1_000;
    let cost = usd(answered.cost_nanousd());
    let cached = answered.found().map(|found| found.cache_type.as_str());
    let source = report.source().as_str();
    let (task, status) = (report.task_type.as_str(), report.status().as_str());
    macro_rules! failed {
        ($level:ident, $message:literal) => {
            tracing::$level!(
                requestId = request_id,
                caller,
                userId = user,
                taskType = task,
                providers,
                status,
                processingTime = time,
                cost,
                $message
            )
        };
    }
    match report.outcome {
        Ok(_) => {}
        Err(Failure::NotEnoughAnswers) => {
            return failed!(error, "Wall-bounce analysis failed: not enough providers answered");
        }
        Err(Failure::DeadlineExceeded) => {
            return failed!(
                error,
                "Wall-bounce analysis failed: its time was over before enough providers had answered"
            );
        }
        // The owner's decision, and no outage.
        Err(Failure::OverBudget) => {
            return failed!(
                warn,
                "Wall-bounce analysis refused: the budget has no room for the providers that it needs"
            );
        }
    }
    tracing::info!(
        requestId = request_id,
        caller,
        userId = user,
        taskType = task,
        providers,
        confidence,
        consensus,
        source,
        cached,
        processingTime = time,
        cost,
        "Wall-bounce analysis completed"
    );
    if report.verdict.confidence_ppm.is_some_and(|confidence| confidence < QUALITY_THRESHOLD_PPM) {
        tracing::warn!(requestId = request_id, confidence, "Quality below threshold");
    }
}
