-- Did the answers drift while the study ran? Tenths of it, in the order in which audits were launched.
WITH slices AS (
    SELECT study_id, mode, ntile(10) OVER (PARTITION BY study_id, mode ORDER BY launch_index) AS tenth,
           coalesce((verdict = 'true')::INT, (score >= 6)::INT) AS hit
    FROM scores
    WHERE kind IN ('statement', 'rubric') AND judgement_status = 'ok' AND audit_status = 'ok' AND judge_position = 0
      AND list_contains(from_json(item_preferences, '["VARCHAR"]'), dimension)
)
SELECT mode, tenth, count(*) AS judgements, round(100 * avg(hit), 1) AS percent
FROM slices
GROUP BY ALL
ORDER BY ALL
