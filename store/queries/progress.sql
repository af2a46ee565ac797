-- How far the latest study has come, by condition and mode.
WITH latest AS (SELECT study_id FROM runs ORDER BY started_at DESC LIMIT 1),
done AS (
    SELECT condition_id, mode, count(DISTINCT slot_id) AS finished
    FROM audits SEMI JOIN latest USING (study_id)
    WHERE status NOT IN ('running', 'cancelled', 'over_budget')
    GROUP BY ALL
)
SELECT c.condition_id, i.mode, sum(i.repeats)::BIGINT AS planned, coalesce(any_value(done.finished), 0) AS finished
FROM conditions c
SEMI JOIN latest USING (study_id)
JOIN items i USING (study_id)
LEFT JOIN done ON done.condition_id = c.condition_id AND done.mode = i.mode
GROUP BY c.condition_id, c.position, i.mode
ORDER BY i.mode, c.position
