-- The highest rubric scores, with what the judge said.
SELECT j.score, j.dimension, a.condition_id, j.judge, j.audit_id, j.justification
FROM judgements j JOIN audits a USING (audit_id)
WHERE j.kind = 'rubric' AND j.status = 'ok' AND a.status = 'ok'
ORDER BY j.score DESC, j.judgement_id
LIMIT 50
